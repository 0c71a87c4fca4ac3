"""What a tenant has used, by day, and what is left of its quotas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from textmill.call import Ask, ask, call
from textmill.paging import parse_time


@dataclass(frozen=True, kw_only=True)
class UsageCounts:
    """What was used in some time."""

    requests: int = 0
    rows: int = 0  #: rows that got a result
    failed_rows: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    device_seconds: float = 0.0
    bytes_uploaded: int = 0


@dataclass(frozen=True, kw_only=True)
class DayUsage(UsageCounts):
    """What was used on one day."""

    day: date  #: in UTC


@dataclass(frozen=True, kw_only=True)
class Quota:
    """A quota and what is left of it."""

    name: str  #: such as ``rows_queued``
    limit: float | None  #: None: as much as is wanted
    used: float
    left: float | None
    resets_at: datetime | None = None  #: when ``used`` begins anew; None: as things end


@dataclass(frozen=True, kw_only=True)
class TenantUsage:
    """What the caller's tenant has used, and what it may use."""

    tenant: str
    days: tuple[DayUsage, ...] = ()  #: those on which anything was used, in order
    total: UsageCounts = UsageCounts()  #: all these days together
    quotas: tuple[Quota, ...] = ()
    rates: Mapping[str, float | None] = field(default_factory=dict, hash=False)  #: calls a second
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def to_usage(raw: Mapping[str, Any]) -> TenantUsage:
    """A tenant's usage from the API's object."""
    return TenantUsage(
        tenant=str(raw["tenant"]),
        days=tuple(
            DayUsage(day=date.fromisoformat(one["day"]), **_counts(one))
            for one in raw.get("days") or ()
        ),
        total=UsageCounts(**_counts(raw.get("total") or {})),
        quotas=tuple(_quota(one) for one in raw.get("quotas") or ()),
        rates=raw.get("rates") or {},
        raw=raw,
    )


def usage(*, first: date | str | None, last: date | str | None) -> Ask[TenantUsage]:
    """The usage of some days."""
    return ask(call("GET", "usage", query={"from": first, "to": last}), to_usage)


def _counts(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: raw.get(name) or 0 for name in UsageCounts.__dataclass_fields__}


def _quota(raw: Mapping[str, Any]) -> Quota:
    return Quota(
        name=str(raw["name"]),
        limit=raw.get("limit"),
        used=raw.get("used") or 0,
        left=raw.get("left"),
        resets_at=parse_time(raw.get("resets_at")),
    )
