"""``/v1/usage``: what the caller's tenant used by day, and what is left of its quotas."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from flask import Blueprint, Response
from pydantic import Field

from api.operations import Answer, operation
from api.requests import Query
from api.responses import json_response
from api.schemas.usage import UsageView
from api.services import admitted, caller, services
from jobs.errors import InvalidRequest
from jobs.record import rfc3339
from jobs.scopes import Scope
from storage.ledger.accounts import until_tomorrow
from storage.usage import Usage

blueprint = Blueprint("usage", __name__)

#: Most days of one call, and how many there are unless more are asked for.
MOST_DAYS = 366
_USUAL_DAYS = 30

_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


class UsageQuery(Query):
    """Which days."""

    first: str | None = Field(
        default=None,
        alias="from",
        pattern=_DAY,
        description=f"First day, in UTC; by default {_USUAL_DAYS} days before the last one.",
        examples=["2026-11-01"],
    )
    last: str | None = Field(
        default=None,
        alias="to",
        pattern=_DAY,
        description=f"Last day, at most {MOST_DAYS} days in all; by default today.",
        examples=["2026-11-30"],
    )


@blueprint.get("/usage")
@operation(
    name="get_usage",
    tag="system",
    scope=Scope.USAGE_READ,
    query=UsageQuery,
    answers={200: Answer(description="The usage.", model=UsageView)},
)
def usage(query: UsageQuery) -> Response:
    """Show what the caller's tenant used, by day, and what is left of its quotas."""
    at, tenant = services(), caller().tenant
    today = at.ledger.accounts.today()
    last = _parsed("to", query.last) or today
    first = _parsed("from", query.first) or last - timedelta(days=_USUAL_DAYS)
    if not 0 <= (last - first).days < MOST_DAYS:
        raise InvalidRequest.of(
            "from", f"expected a day before `to`, at most {MOST_DAYS} days in all", first
        )
    at.requests.tell()
    days = at.usage.read(tenant, first, last)
    now_used = Usage.of(at.ledger.accounts.used(tenant, today))
    limits = at.ledger.accounts.limits(tenant)
    return json_response(
        {
            "object": "usage",
            "tenant": tenant,
            "days": [{"day": day.isoformat(), **found.public()} for day, found in days],
            "total": sum((found for _, found in days), Usage()).public(),
            "quotas": _quotas(tenant, now_used),
            "rates": {"read": limits.read_rate, "write": limits.write_rate},
        }
    )


def _parsed(name: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest.of(name, "there is no such day", text) from None
    if not 1970 < found.year < 9999:
        raise InvalidRequest.of(name, "expected a day after 1970", text)
    return found


def _quotas(tenant: str, today: Usage) -> list[dict[str, Any]]:
    accounts = services().ledger.accounts
    limits, standing = accounts.limits(tenant), accounts.standing(tenant)
    now = admitted().now
    midnight = rfc3339((now // 1000 + until_tomorrow(now)) * 1000)
    rows = [
        ("rows_queued", limits.rows_queued, standing.rows_queued, None),
        ("jobs_unfinished", limits.jobs_unfinished, standing.jobs_unfinished, None),
        ("bytes_stored", limits.bytes_stored, standing.bytes_stored, None),
        (
            "device_seconds_per_day",
            limits.device_seconds_per_day,
            round(today.device_ms / 1000, 3),
            midnight,
        ),
    ]
    return [
        {
            "name": name,
            "limit": limit,
            "used": used,
            "left": None if limit is None else max(0.0, limit - used),
            "resets_at": resets,
        }
        for name, limit, used, resets in rows
    ]
