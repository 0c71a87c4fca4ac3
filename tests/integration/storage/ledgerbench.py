"""A ledger with a clock that only the test moves, and the steps that most tests begin with."""

from __future__ import annotations

from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.record import JobRecord
from jobs.rows import Usage
from jobs.states import Lane, Priority, Status
from storage.ledger import Answer, Claim, JobTable, Ledger, NewJob, RangeTable, new_epoch
from storage.ledger.scripts import LedgerClient

TENANT = "default"
JOB = "job_a"
LEASE_MS = 1_000

#: Where the clock begins, in ms.
START = 1_000_000


def new_job(
    job_id: str = JOB,
    *,
    tenant: str = TENANT,
    created_at: int = START,
    kind: str = "classify",
    name: str | None = None,
    model_key: str = "",
    priority: Priority = Priority.NORMAL,
    max_error_rows: int | None = None,
    max_error_share: float | None = None,
    window_ms: int | None = None,
    lane: Lane = Lane.QUICK,
) -> NewJob:
    """What the ledger is told of a job, with defaults for what the test does not care about."""
    return NewJob(
        id=job_id,
        tenant=tenant,
        kind=kind,
        model=None,
        model_key=model_key,
        name=name,
        priority=priority,
        metadata={},
        max_error_rows=max_error_rows,
        max_error_share=max_error_share,
        lane=lane,
        window_ms=window_ms,
        created_at=created_at,
    )


def make_whole(ledger: Ledger) -> None:
    """Give a ledger an epoch, as building it from an empty store would."""
    token = new_token()
    assert ledger.restoring.lock(token)
    ledger.restoring.complete(token, new_epoch("bench"))


class LedgerBench:
    """One ledger; ``now`` (ms) is its clock."""

    def __init__(self, client: LedgerClient) -> None:
        self.client = client
        self.now = START

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.client, LEASE_MS, self.now)

    @property
    def jobs(self) -> JobTable:
        return self.ledger.jobs

    @property
    def ranges(self) -> RangeTable:
        return self.ledger.ranges

    def plan(
        self, rows: int, size: int, *, job: NewJob | None = None, seal: bool = True
    ) -> tuple[str, Answer | None]:
        """Enter a job and plan it in ranges of ``size`` rows; the planner's token and what ``seal`` answered."""
        entered = job or new_job()
        assert self.jobs.enter(entered)
        token = new_token()
        assert self.ranges.plan_begin(entered.id, token) is Answer.OK
        for start in range(0, rows, size):
            one = RowRange(start, min(start + size, rows))
            assert self.ranges.add(entered.id, token, one) is Answer.OK
        return token, self.ranges.seal(entered.id, token, rows, "[]") if seal else None

    def begin(self) -> None:
        """Make the ledger whole, and let sweepers have seen its server for one lease time."""
        make_whole(self.ledger)
        self.see("server", self.now - LEASE_MS)

    def see(self, run_id: str, now: int | None = None, gap_ms: int = 10**9) -> int:
        """What a sweeper says who sees this server; since when it was seen."""
        return int(self.client.call("watch", run_id, gap_ms, self.now if now is None else now))

    def claim(self, job_id: str = JOB, token: str | None = None) -> Claim:
        """Claim a range that must be there."""
        claim = self.ranges.claim(job_id, token or new_token())
        assert claim is not None
        return claim

    def lease(self, job_id: str = JOB) -> tuple[RowRange, str]:
        """Claim a range that must be there: the range and the lease's token."""
        token = new_token()
        return self.claim(job_id, token).rows, token

    def claimable(self, job_id: str = JOB) -> list[RowRange]:
        """Claim all there is; the ranges in the order in which they came."""
        found = []
        while (claim := self.ranges.claim(job_id, new_token())) is not None:
            found.append(claim.rows)
        return found

    def die(self, hand: RowRange | None = None, job_id: str = JOB) -> RowRange:
        """Let a worker claim a range, take some of it in hand and die; the range."""
        rows, token = self.lease(job_id)
        if hand is not None:
            assert self.ranges.heartbeat(job_id, rows, token, hand) is not Answer.LOST
        self.lapse()
        assert self.ranges.sweep(job_id).expired == 1
        return rows

    def commit(
        self,
        rows: RowRange,
        token: str,
        *,
        job_id: str = JOB,
        done: RowRange | None = None,
        errors: int = 0,
        size: int = 0,
    ) -> Answer:
        """Commit a lease, or its first rows, of which ``errors`` failed."""
        part = done or rows
        return self.ranges.commit(
            job_id,
            rows,
            token,
            done=part,
            results=len(part) - errors,
            errors=errors,
            usage=Usage(len(part), 2 * len(part)),
            device_ms=5,
            size=size,
        )

    def lapse(self) -> None:
        """Let every lease of a range run out."""
        self.now += LEASE_MS

    def record(self, job_id: str = JOB) -> JobRecord:
        found = self.jobs.find(job_id)
        assert found is not None
        return found

    def status(self, job_id: str = JOB) -> Status:
        return self.record(job_id).status

    def counts(self, job_id: str = JOB) -> tuple[int, int]:
        """Rows completed and rows failed."""
        found = self.record(job_id)
        return found.completed, found.failed

    def attempts(self, rows: RowRange, job_id: str = JOB) -> int:
        """Claims of a range that ended neither in a commit nor in a release."""
        return int(self.client.redis.hget(f"job:{job_id}:attempts", str(rows)) or 0)
