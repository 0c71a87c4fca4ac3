"""Ranges of rows in the ledger: planning, leasing, committing, sweeping, finalizing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import cast

from jobs.ranges import RowRange
from jobs.rows import Usage
from jobs.states import Lane, Status
from storage.ledger.scripts import Argument, LedgerClient, ledger_faults

#: A job that has waited this long is served even by a worker that must load its model first, in ms.
RESIDENCY_PATIENCE_MS = 30_000

#: A job of a lower priority that has waited this long gets one shard all the same, in ms.
STARVED_MS = 60_000

#: A job that no worker at all has served for this long makes one of them return early from another's shard, in ms.
YIELD_MS = 1_000

#: Planners in a row that may die over a job without getting any further.
MOST_PLANNERS = 5

#: Pauses of a job that cannot be worked on just now: the first, which then doubles, and the longest, in ms.
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 1_000, 60_000

#: Time that a planner or finalizer that was sent for has to come before another is, in ms.
RESEND_MS = 5_000

#: Output that is worth joining before the job ends, in bytes, so that little is left to do then.
GATHER_BYTES = 16 << 20

_PAGE = 1000

#: Jobs swept in one round trip: a few ms of the server's time.
_SWEPT_AT_ONCE = 100


class Answer(StrEnum):
    """What the ledger says to a planner, worker or finalizer."""

    OK = "ok"
    GATHER = "gather"  #: done, and what is done should be joined while the job still runs
    FINALIZE = "finalize"  #: done, and the job can be finalized now
    LOST = "lost"  #: the lease belongs to somebody else; drop the work
    STOP = "stop"  #: the job's outcome is decided; drop the work
    HELD = "held"  #: somebody else is at it
    OVER = "over"  #: there is nothing left to do
    SPENT = "spent"  #: planners die over the job one after the other
    YIELD = "yield"  #: the lease is renewed, but another job starves: commit early and give the rest back


@dataclass(frozen=True)
class CommittedPart:
    """A range that is done and the token in its part's name."""

    rows: RowRange
    token: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A leased range and what its worker should know of it."""

    rows: RowRange
    deaths: int  #: workers that died on it
    origin: (
        RowRange  #: the planned range whose shard holds its rows: the same, or what it was cut from
    )
    generation: int  #: of the job: 1, and one more with each retry
    #: The planned range that this worker will most likely get next; None when no more are pending. A guess: nothing is
    #: held, and others may get it.
    following: RowRange | None = None


@dataclass(frozen=True)
class Swept:
    """What one sweep of one job found."""

    expired: int
    status: Status | None
    stuck: str  #: ``plan`` or ``finalize`` when nobody is at it, else empty
    lane: Lane  #: where its control messages go


class RangeTable:
    """The ranges of all jobs. Rows are counted within the job's generation; in the first that is the input's own index.

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
        """Become the job's planner, or go on being it: ``ok``, ``held``, ``over`` or ``spent``."""
        return Answer(
            self._client.call("plan_begin", job_id, token, self._lease_ms, MOST_PLANNERS, self._now)
        )

    def add(self, job_id: str, token: str, rows: RowRange) -> Answer:
        """Make a range claimable: ``ok`` or ``lost``. Adding one seen before does nothing."""
        return Answer(self._client.call("add", job_id, token, str(rows), self._lease_ms, self._now))

    def seal(self, job_id: str, token: str, rows: int, warnings: str) -> Answer:
        """End planning with the rows of this generation and warnings as a JSON list: ``ok``, ``finalize``, ``lost``."""
        return Answer(self._client.call("seal", job_id, token, rows, warnings, self._now))

    def pause(self, job_id: str, role: str, token: str, seconds: float, reason: str) -> None:
        """Put down the role of ``planner`` or ``finalizer`` for a while, for a reason that people are shown."""
        pause_ms = round(seconds * 1000)
        self._client.call("pause", job_id, role, token, pause_ms, reason, self._now)

    # --- working ---------------------------------------------------------------------------------

    def choose(self, held_models: Sequence[str]) -> str | None:
        """Id of the job that a worker holding these models should serve next."""
        found = self._client.call(
            "choose", self._now, RESIDENCY_PATIENCE_MS, STARVED_MS, *held_models
        )
        return cast("str | None", found or None)

    def open(self, job_id: str) -> int:
        """Say that a worker begins to make ready for a job; how many did so since the last claim."""
        return int(self._client.call("open", job_id))

    def claim(self, job_id: str, token: str) -> Claim | None:
        """Lease the job's next pending range; None when there is none. The same token gets the same range."""
        found = self._client.call("claim", job_id, token, self._lease_ms, self._now)
        if not found:
            return None
        rows, deaths, origin, generation, following = found
        return Claim(
            rows=RowRange.parse(rows),
            deaths=int(deaths),
            origin=RowRange.parse(origin),
            generation=int(generation),
            following=RowRange.parse(following) if following else None,
        )

    def defer(self, job_id: str, reason: str) -> float:
        """Let others go first, for this job cannot be worked on just now; for how many seconds.

        The time doubles with each deferral until a range of the job is claimed.
        """
        pause_ms = self._client.call(
            "defer", job_id, FIRST_PAUSE_MS, LONGEST_PAUSE_MS, reason, self._now
        )
        return float(pause_ms) / 1000

    def heartbeat(
        self, job_id: str, rows: RowRange, token: str, hand: RowRange | None = None
    ) -> Answer:
        """Renew a lease: ``ok``, ``lost``, ``stop`` or ``yield``.

        Args:
            job_id: the job.
            rows: the leased range.
            token: of the lease.
            hand: rows of it that will be computed next; a worker that dies on them is not held against the others.
        """
        named = "" if hand is None else str(hand)
        return Answer(
            self._client.call(
                "heartbeat", job_id, str(rows), token, self._lease_ms, named, YIELD_MS, self._now
            )
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
        size: int,
    ) -> Answer:
        """Mark ``done`` (the leased rows, or the first of them) as done: ``ok``, ``gather``, ``finalize``, ``lost``,
        ``stop``. Its part holds ``size`` bytes of output.

        Rows of the lease behind ``done`` become pending again. The part must lie in the store already.
        """
        return Answer(
            self._client.call(
                "commit",
                job_id,
                str(rows),
                token,
                str(done),
                results,
                errors,
                usage.input_tokens,
                usage.output_tokens,
                device_ms,
                size,
                GATHER_BYTES,
                self._now,
            )
        )

    def release(self, job_id: str, rows: RowRange, token: str, *, death: bool = False) -> Answer:
        """Give a lease back with nothing done: ``ok`` or ``lost``. That is no attempt, unless it was a ``death``."""
        died = "1" if death else ""
        return Answer(self._client.call("release", job_id, str(rows), token, died, self._now))

    # --- sweeping and finalizing -------------------------------------------------------------------

    def watch(self, gap_seconds: float) -> int:
        """Say, as a sweeper, which server is seen; since when without a gap, in ms.

        Before that has lasted for one lease time no lease expires: see ``watch.lua``.
        """
        with ledger_faults():
            info = cast("dict[str, str]", self._client.redis.info("server"))
        gap_ms = round(gap_seconds * 1000)
        return int(self._client.call("watch", info["run_id"], gap_ms, self._now))

    def sweep(self, job_id: str) -> Swept:
        """Take back a job's expired leases and say what is stuck."""
        return next(self.sweep_each([job_id]))[1]

    def sweep_each(self, job_ids: Iterable[str]) -> Iterator[tuple[str, Swept]]:
        """Sweep many jobs, some of them in each round trip; each job's id with what was found."""
        rest = iter(job_ids)
        while ids := list(islice(rest, _SWEPT_AT_ONCE)):
            calls = [(job_id, self._lease_ms, RESEND_MS, self._now) for job_id in ids]
            answers = self._client.call_each("sweep", calls)
            for job_id, (expired, status, stuck, lane) in zip(ids, answers, strict=True):
                found = Status(status) if status else None
                yield job_id, Swept(int(expired), found, stuck, Lane(lane or "bulk"))

    def final_begin(
        self, job_id: str, token: str, state: str = "", *, early: bool = False
    ) -> tuple[Answer, str]:
        """Become or stay the job's finalizer; ``ok`` with the recorded state, ``held`` or ``over``.

        Args:
            job_id: the job.
            token: the finalizer's own.
            state: what is finished by now, for whoever has to go on; kept as it is when empty.
            early: whether to begin with what is done while the job still runs.
        """
        when = "early" if early else ""
        answer, recorded = self._client.call(
            "final_begin", job_id, token, self._lease_ms, state, when, self._now
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
