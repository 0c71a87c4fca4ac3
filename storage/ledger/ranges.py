"""Ranges of rows in the ledger: planning, leasing, committing, sweeping, finalizing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from jobs.ranges import RowRange
from jobs.rows import Usage
from jobs.states import Priority, Status
from storage.ledger.scripts import Argument, LedgerClient, ledger_faults

#: A job that has waited this long is served even by a worker that must load its model first, in ms.
RESIDENCY_PATIENCE_MS = 30_000

#: Deaths on one range after which its job is failed.
MOST_DEATHS = 5

#: Time that a planner or finalizer that was sent for has to come before another is, in ms.
RESEND_MS = 5_000

_PAGE = 1000


class Answer(StrEnum):
    """What the ledger says to a planner, worker or finalizer."""

    OK = "ok"
    FINALIZE = "finalize"  #: done, and the job can be finalized now
    LOST = "lost"  #: the lease belongs to somebody else; drop the work
    STOP = "stop"  #: the job's outcome is decided; drop the work
    HELD = "held"  #: somebody else is at it
    OVER = "over"  #: there is nothing left to do


@dataclass(frozen=True)
class CommittedPart:
    """A range that is done and the token in its part's name."""

    rows: RowRange
    token: str


@dataclass(frozen=True)
class Swept:
    """What one sweep of one job found."""

    expired: int
    status: Status | None
    stuck: str  #: ``plan`` or ``finalize`` when nobody is at it, else empty


class RangeTable:
    """The ranges of all jobs.

    Args:
        client: the connection.
        lease_ms: life of a lease, in ms.
        now: the time in ms, for tests; Redis's own clock otherwise.
    """

    def __init__(self, client: LedgerClient, lease_ms: int, now: int | None = None) -> None:
        self._client = client
        self._lease_ms = lease_ms
        self._now: Argument = "" if now is None else now

    # --- planning --------------------------------------------------------------------------------

    def plan_begin(self, job_id: str, token: str) -> Answer:
        """Become the job's planner, or go on being it: ``ok``, ``held`` or ``over``."""
        return Answer(self._client.call("plan_begin", job_id, token, self._lease_ms * 3, self._now))

    def add(self, job_id: str, token: str, rows: RowRange) -> Answer:
        """Make a range claimable: ``ok`` or ``lost``. Adding one seen before does nothing."""
        lease = self._lease_ms * 3
        return Answer(self._client.call("add", job_id, token, str(rows), lease, self._now))

    def seal(self, job_id: str, token: str, total: int, warnings: str) -> Answer:
        """End planning, with warnings as a JSON list: ``ok``, ``finalize`` or ``lost``."""
        return Answer(self._client.call("seal", job_id, token, total, warnings))

    # --- working ---------------------------------------------------------------------------------

    def choose(self, held_models: Sequence[str]) -> str | None:
        """Id of the job that a worker holding these models should serve next."""
        found = self._client.call("choose", self._now, RESIDENCY_PATIENCE_MS, *held_models)
        return cast("str | None", found or None)

    def claim(self, job_id: str, token: str) -> RowRange | None:
        """Lease the first pending range. The same token gets the same lease again."""
        name = self._client.call("claim", job_id, token, self._lease_ms, self._now)
        return RowRange.parse(name) if name else None

    def origin(self, job_id: str, rows: RowRange) -> RowRange:
        """The planned range whose shard holds these rows: the range itself, or what it was split from."""
        with ledger_faults():
            name = self._client.redis.hget(f"job:{job_id}:origins", str(rows))
        return RowRange.parse(cast(str, name)) if name else rows

    def defer(self, job_id: str, priority: Priority) -> None:
        """Let others go first, as if this job had been served: it cannot be worked on just now."""
        with ledger_faults():
            self._client.redis.zadd(f"runnable:{priority}", {job_id: 1}, xx=True, incr=True)

    def heartbeat(self, job_id: str, rows: RowRange, token: str) -> Answer:
        """Renew a lease: ``ok``, ``lost`` or ``stop``."""
        return Answer(
            self._client.call("heartbeat", job_id, str(rows), token, self._lease_ms, self._now)
        )

    def commit(
        self,
        job_id: str,
        rows: RowRange,
        token: str,
        *,
        done: RowRange,
        results: int,
        errors: int,
        usage: Usage,
        device_ms: int,
    ) -> Answer:
        """Mark ``done`` (the leased rows, or the first of them) as done: ``ok``, ``finalize``, ``lost``, ``stop``.

        Rows of the lease behind ``done`` become pending again. The part must lie in the store already.
        """
        rest = "" if done == rows else str(rows.cut(done.stop)[1])
        return Answer(
            self._client.call(
                "commit",
                job_id,
                str(rows),
                token,
                str(done),
                rest,
                results,
                errors,
                usage.input_tokens,
                usage.output_tokens,
                device_ms,
                self._now,
            )
        )

    def release(self, job_id: str, rows: RowRange, token: str) -> Answer:
        """Give a lease back with nothing done; that is no attempt: ``ok`` or ``lost``."""
        return Answer(self._client.call("release", job_id, str(rows), token, self._now))

    # --- sweeping and finalizing -------------------------------------------------------------------

    def sweep(self, job_id: str) -> Swept:
        """Take back a job's expired leases and say what is stuck."""
        expired, status, stuck = self._client.call(
            "sweep", job_id, MOST_DEATHS, RESEND_MS, self._now
        )
        return Swept(int(expired), Status(status) if status else None, stuck)

    def final_begin(self, job_id: str, token: str, state: str = "") -> tuple[Answer, str]:
        """Become or stay the job's finalizer; ``ok`` with the recorded state, ``held`` or ``over``.

        Args:
            job_id: the job.
            token: the finalizer's own.
            state: what is finished by now, for whoever has to go on; kept as it is when empty.
        """
        answer, recorded = self._client.call(
            "final_begin", job_id, token, self._lease_ms * 3, state, self._now
        )
        return Answer(answer), recorded

    def parts(self, job_id: str, first_row: int = 0) -> Iterator[CommittedPart]:
        """Committed parts from this row on, in input order, read a page at a time."""
        key = f"job:{job_id}:done"
        low: str | int = first_row
        while True:
            with ledger_faults():
                names = cast(
                    "list[str]",
                    self._client.redis.zrangebyscore(key, low, "+inf", start=0, num=_PAGE),
                )
            for name in names:
                rows, _, token = name.partition(".")
                part = CommittedPart(RowRange.parse(rows), token)
                low = f"({part.rows.start}"
                yield part
            if len(names) < _PAGE:
                return
