"""A ledger with a clock that only the test moves, and the steps that most tests begin with."""

from __future__ import annotations

from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.rows import Usage
from jobs.states import Priority, Status
from storage.ledger import Answer, JobTable, Ledger, NewJob, RangeTable
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
        created_at=created_at,
    )


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

    def lease(self, job_id: str = JOB) -> tuple[RowRange, str]:
        """Claim a range that must be there: the range and the lease's token."""
        token = new_token()
        rows = self.ranges.claim(job_id, token)
        assert rows is not None
        return rows, token

    def commit(
        self,
        rows: RowRange,
        token: str,
        *,
        job_id: str = JOB,
        done: RowRange | None = None,
        errors: int = 0,
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
        )

    def lapse(self) -> None:
        """Let every lease of a range run out."""
        self.now += LEASE_MS

    def status(self, job_id: str = JOB) -> Status:
        found = self.jobs.find(job_id)
        assert found is not None
        return found.status

    def counts(self, job_id: str = JOB) -> tuple[int, int]:
        """Rows completed and rows failed."""
        found = self.jobs.find(job_id)
        assert found is not None
        return found.completed, found.failed

    def attempts(self, rows: RowRange, job_id: str = JOB) -> int:
        """Claims of a range that ended neither in a commit nor in a release."""
        return int(self.client.redis.hget(f"job:{job_id}:attempts", str(rows)) or 0)
