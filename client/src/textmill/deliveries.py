"""Deliveries of webhooks, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from textmill.paging import parse_time


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt to tell a webhook."""

    at: datetime | None
    seconds: float
    status: int | None  #: what the receiver answered
    error: str | None  #: code, where it gave no answer


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event on its way to a webhook."""

    id: str
    type: str  #: what it says, such as ``schedule.late``
    status: str  #: ``pending``, ``delivered``, ``failed`` or ``gone``
    created_at: datetime | None = None
    next_attempt_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()  #: the newest ones, oldest first
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def to_delivery(raw: Mapping[str, Any]) -> Delivery:
    """A delivery from the API's object."""
    attempts = (
        Attempt(
            at=parse_time(one["at"]),
            seconds=one["seconds"],
            status=one["status"],
            error=one["error"],
        )
        for one in raw.get("attempts") or ()
    )
    return Delivery(
        id=str(raw["id"]),
        type=str(raw["type"]),
        status=str(raw["status"]),
        created_at=parse_time(raw.get("created_at")),
        next_attempt_at=parse_time(raw.get("next_attempt_at")),
        attempts=tuple(attempts),
        raw=raw,
    )
