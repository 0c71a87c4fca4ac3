"""Which schedules are to be looked at, and by whom: what they are and what they did lies in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.ledger.scripts import Argument, LedgerClient, ledger_faults


@dataclass(frozen=True, kw_only=True)
class DueSchedule:
    """A schedule that was taken to be looked at."""

    tenant: str
    id: str
    token: str


@dataclass(frozen=True, kw_only=True)
class ScheduleCensus:
    """Schedules of all tenants at one moment."""

    waiting: int  #: that somebody is to look at, now or later
    late: int  #: whose run has not completed in time
    unattended: int  #: whose turn came long ago, and nobody looked


class ScheduleTable:
    """The turns of schedules.

    Args:
        client: the connection.
        now: the time in ms, for tests; Redis's own clock otherwise.
    """

    def __init__(self, client: LedgerClient, now: int | None = None) -> None:
        self._client = client
        self._now: Argument = "" if now is None else now

    def enter(self, tenant: str, schedule_id: str, revision: int, *, restorer: str = "") -> bool:
        """Have a schedule looked at now; False when a newer revision of it is known.

        Args:
            tenant: whose it is.
            schedule_id: its revisions lie in the store.
            revision: number of the newest.
            restorer: token of whoever builds the ledger.
        """
        return bool(
            self._client.call("schedule_enter", restorer, tenant, schedule_id, revision, self._now)
        )

    def claim(self, token: str, *, lease_ms: int) -> DueSchedule | None:
        """Take the schedule whose turn came first; None when none has.

        Args:
            token: names the look.
            lease_ms: time after which it is its turn again, unless the look was settled.
        """
        found = self._client.call("schedule_claim", token, lease_ms, self._now)
        return DueSchedule(tenant=found[0], id=found[1], token=token) if found else None

    def settle(self, due: DueSchedule, at: int | None, *, late_since: int | None) -> bool:
        """End a look; False when its lease had ended, or the schedule was changed meanwhile.

        Args:
            due: what was claimed.
            at: when to look again, in ms; None: not before somebody changes it.
            late_since: since when a run should have completed, in ms; None where none is late.
        """
        when: Argument = "" if at is None else at
        late: Argument = "" if late_since is None else late_since
        return bool(
            self._client.call(
                "schedule_settle", due.token, due.tenant, due.id, when, late, self._now
            )
        )

    def forget(self, tenant: str, schedule_id: str) -> bool:
        """Forget a schedule that was deleted; whether it was known."""
        return bool(self._client.call("schedule_forget", tenant, schedule_id))

    def revision(self, tenant: str, schedule_id: str) -> int | None:
        """Number of the newest revision that is known of a schedule."""
        with ledger_faults():
            found = self._client.redis.hget(f"tenant:{tenant}:schedules", schedule_id)
        return None if found is None else int(str(found))

    def count(self, tenant: str) -> int:
        """How many schedules a tenant has."""
        with ledger_faults():
            return int(str(self._client.redis.hlen(f"tenant:{tenant}:schedules")))

    def late(self, tenant: str, ids: Sequence[str]) -> dict[str, int]:
        """Since when (ms) those of a tenant's schedules that are late are so."""
        if not ids:
            return {}
        with ledger_faults():
            found = self._client.redis.hmget("schedules.late", [f"{tenant}/{one}" for one in ids])
        pairs = zip(ids, list(found), strict=True)
        return {one: int(since) for one, since in pairs if since is not None}

    def census(self, before: int) -> ScheduleCensus:
        """How many there are.

        Args:
            before: a turn that came before this time (ms) came long ago.
        """
        with ledger_faults():
            pipe = self._client.redis.pipeline(transaction=False)
            pipe.zcard("schedules")
            pipe.hlen("schedules.late")
            pipe.zcount("schedules", "-inf", before)
            waiting, late, unattended = pipe.execute()
        return ScheduleCensus(waiting=waiting, late=late, unattended=unattended)
