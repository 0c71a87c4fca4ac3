"""What tenants may use and what they used: limits, room for what comes, counts by day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

from jobs.tenants import LIMITS, Limits, Tenant
from storage.ledger.scripts import Argument, LedgerClient, ledger_faults

#: Life of room that was made for a job, in ms: far more than entering it takes.
RESERVED_MS = 60_000

#: Life of room that was made for an upload, in ms. It is renewed with every piece that arrives.
ARRIVING_MS = 10 * 60_000

#: Life of the lock under which one scheduler keeps the accounts, in ms.
ACCOUNTS_MS = 5 * 60_000

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class UsedUp:
    """A quota that leaves no room."""

    quota: str
    used: int
    limit: int
    now: int  #: ms


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How much of its quotas a tenant uses now."""

    rows_queued: int
    jobs_unfinished: int
    bytes_stored: int
    bytes_measured_at: int | None  #: when they were last counted by listing the store, in ms


class AccountTable:
    """The accounts of all tenants.

    Args:
        client: the connection.
        defaults: what a tenant may use that has no limits of its own.
        now: the time in ms, for tests; Redis's own clock otherwise.
    """

    def __init__(self, client: LedgerClient, defaults: Limits, now: int | None = None) -> None:
        self._client = client
        self.defaults = defaults
        self._now: Argument = "" if now is None else now

    # --- records and limits ------------------------------------------------------------------------

    def publish_defaults(self) -> None:
        """Say what a tenant may use that has no limits of its own; scripts know it from here."""
        given = {name: _text(value) for name, value in asdict(self.defaults).items()}
        with ledger_faults():
            self._client.redis.hset("ledger:limits", items=_flat(given))

    def enter(self, tenant: Tenant) -> None:
        """Make a tenant's record known that lies in the store."""
        name = f"tenant:{tenant.name}"
        fields = {"record": tenant.to_json().decode()}
        fields |= {limit: _text(value) for limit, value in tenant.limits.items()}
        if tenant.disabled_at is not None:
            fields["disabled"] = "1"
        with ledger_faults():
            pipe = self._client.redis.pipeline(transaction=True)
            pipe.delete(name)
            pipe.hset(name, items=_flat(fields))
            pipe.execute()

    def find(self, tenant: str) -> Tenant | None:
        """A tenant's record, if it has one."""
        with ledger_faults():
            text = cast("str | None", self._client.redis.hget(f"tenant:{tenant}", "record"))
        return Tenant.from_json(text) if text else None

    def limits(self, tenant: str) -> Limits:
        """What a tenant may use, as the scripts see it."""
        with ledger_faults():
            pipe = self._client.redis.pipeline(transaction=False)
            pipe.hmget(f"tenant:{tenant}", *LIMITS)
            pipe.hmget("ledger:limits", *LIMITS)
            own, general = pipe.execute()
        chosen = [a if a is not None else b for a, b in zip(own, general, strict=True)]
        values = zip(LIMITS, chosen, strict=True)
        return Limits(**{name: float(text) if text else None for name, text in values})

    # --- room for what comes -------------------------------------------------------------------------

    def reserve(
        self, job_id: str, tenant: str, rows: int | None, *, retry: bool = False
    ) -> tuple[int, UsedUp | None]:
        """Make room for a job before anything of it is written; the time in ms, and the quota that leaves none.

        Raises:
            Unavailable: the ledger cannot say.
        """
        known = "" if rows is None else rows
        asked = "retry" if retry else "submit"
        now, quota, *amounts = self._client.call(
            "reserve", job_id, tenant, known, asked, RESERVED_MS, self._now
        )
        if not quota:
            return int(now), None
        used, limit = amounts
        return int(now), UsedUp(quota=quota, used=int(used), limit=int(limit), now=int(now))

    def arrive(self, tenant: str, token: str, size: int) -> UsedUp | bool:
        """Make room for so many bytes of an upload in all; False when there is no quota that could be used up.

        Raises:
            Unavailable: the ledger cannot say.
        """
        said, *amounts = self._client.call("arrive", tenant, token, size, ARRIVING_MS, self._now)
        if said == "full":
            used, limit = map(int, amounts)
            return UsedUp(quota="bytes_stored", used=used, limit=limit, now=0)
        return bool(said == "ok")

    def stored(self, tenant: str, size: int, upload: str = "") -> None:
        """Count bytes that were put into the store, or (less than 0) taken out.

        Args:
            tenant: whose they are.
            size: how many.
            upload: token of the upload that brought them.
        """
        self._client.call("stored", tenant, size, upload, self._now)

    def measured(self, tenant: str, size: int | None = None) -> None:
        """Say that the tenant's bytes are being listed; with ``size``, how many there were."""
        self._client.call("measured", tenant, "" if size is None else size, self._now)

    def standing(self, tenant: str) -> Standing:
        """How much of its quotas a tenant uses now."""
        with ledger_faults():
            pipe = self._client.redis.pipeline(transaction=False)
            pipe.hget(f"tenant:{tenant}:rows", "all")
            pipe.scard(f"tenant:{tenant}:unfinished")
            pipe.hmget(f"tenant:{tenant}:stored", "bytes", "measured_at")
            rows, unfinished, (size, at) = pipe.execute()
        return Standing(
            rows_queued=int(rows or 0),
            jobs_unfinished=int(unfinished),
            bytes_stored=int(size or 0),
            bytes_measured_at=int(at) if at else None,
        )

    # --- what was used --------------------------------------------------------------------------------

    def today(self) -> date:
        """The day of UTC that it is by Redis's clock."""
        if self._now != "":
            return _day(int(self._now))
        with ledger_faults():
            seconds, _ = self._client.redis.time()
        return _day(int(seconds) * 1000)

    def users(self, day: date) -> set[str]:
        """Tenants that used something on a day of the last week."""
        with ledger_faults():
            return cast("set[str]", self._client.redis.smembers(f"usage:{_number(day)}"))

    def used(self, tenant: str, day: date) -> dict[str, int]:
        """What a tenant used on a day of the last week, by name; nothing of earlier ones."""
        with ledger_faults():
            found = self._client.redis.hgetall(f"usage:{_number(day)}:{tenant}")
        return {name: int(value) for name, value in cast("dict[str, str]", found).items()}

    def restore_used(self, tenant: str, day: date, counts: Mapping[str, int]) -> None:
        """Enter what the store knows of a day."""
        key, users = f"usage:{_number(day)}:{tenant}", f"usage:{_number(day)}"
        with ledger_faults():
            pipe = self._client.redis.pipeline(transaction=False)
            pipe.hset(key, items=_flat(counts))
            pipe.sadd(users, tenant)
            for name in (key, users):
                pipe.expire(name, timedelta(days=8))
            pipe.execute()

    # --- who keeps the accounts -----------------------------------------------------------------------

    def lock(self, token: str) -> bool:
        """Become, or go on being, the one that keeps the accounts; False while somebody else is."""
        with ledger_faults():
            redis = self._client.redis
            if redis.set("ledger:accounts", token, nx=True, px=ACCOUNTS_MS):
                return True
            return redis.get("ledger:accounts") == token and bool(
                redis.pexpire("ledger:accounts", ACCOUNTS_MS)
            )


def _flat(fields: Mapping[str, str | int]) -> list[Any]:
    return [part for entry in fields.items() for part in entry]


def _text(limit: float | None) -> str:
    return "" if limit is None else f"{limit:.17g}"


def _day(at: int) -> date:
    return datetime.fromtimestamp(at / 1000, UTC).date()


def _number(day: date) -> int:
    return (day - _EPOCH).days


def until_tomorrow(now: int) -> int:
    """Seconds from a time in ms to the next day of UTC."""
    return 86_400 - now // 1000 % 86_400
