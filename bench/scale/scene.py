"""Ledgers of a wanted size, made quickly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from bench.scale.server import make_empty
from jobs.ranges import RowRange
from jobs.states import Lane, Priority
from storage.ledger import Ledger, NewJob
from storage.ledger.ranges import MOST_PLANNERS
from storage.ledger.scripts import Argument, LedgerClient

LEASE_MS = 10_000
PLANNER = "planner"
SHARD_ROWS = 1000

#: Calls sent in one round trip.
_AT_ONCE = 500


def new_job(
    job_id: str,
    tenant: str = "t0",
    priority: Priority = Priority.NORMAL,
    created_at: int | None = None,
) -> NewJob:
    """A job as the API enters it, with a name and some metadata."""
    return NewJob(
        id=job_id,
        tenant=tenant,
        kind="classify",
        model={"ref": "hub:organisation/model-name@0123456789abcdef0123456789abcdef01234567"},
        model_key=f"model-of-{tenant}",
        name="nightly corpus",
        priority=priority,
        metadata={"team": "search", "run": "2031-01-01"},
        max_error_rows=None,
        max_error_share=0.01,
        lane=Lane.BULK,
        window_ms=None,
        created_at=created_at,
    )


def job_name(number: int) -> str:
    """An id as long as real ones."""
    return f"job_{number:026d}"


def shard(number: int, rows: int = SHARD_ROWS) -> RowRange:
    """The range of the given number."""
    return RowRange(number * rows, (number + 1) * rows)


class Scene:
    """A ledger that is filled for a measurement."""

    def __init__(self, client: LedgerClient) -> None:
        self.client = client
        self.ledger = Ledger(client, LEASE_MS)
        make_empty(client)

    def enter(self, jobs: Iterable[NewJob]) -> None:
        """Enter jobs and begin their planning."""
        names = []

        def entries() -> Iterator[list[Argument]]:
            for job in jobs:
                names.append(job.id)
                yield [job.id, job.tenant, "", 60_000, "", *job.fields()]

        self._each("submit", entries())
        self._each(
            "plan_begin", ([name, PLANNER, LEASE_MS * 1000, MOST_PLANNERS, ""] for name in names)
        )

    def plan(self, job_ids: Iterable[str], ranges: int) -> None:
        """Make the first ranges of each of these jobs claimable."""
        self._each(
            "add",
            (
                [job_id, PLANNER, str(shard(number)), LEASE_MS * 1000, ""]
                for job_id in job_ids
                for number in range(ranges)
            ),
        )

    def crowd(self, jobs: int, *, tenants: int = 1, ranges: int = 1) -> list[str]:
        """Enter and plan so many jobs, evenly spread over tenants; their ids."""
        names = [job_name(number) for number in range(jobs)]
        self.enter(new_job(name, f"t{number % tenants}") for number, name in enumerate(names))
        self.plan(names, ranges)
        return names

    def _each(self, script: str, calls: Iterable[list[Argument]]) -> None:
        rest = iter(calls)
        while some := list(islice(rest, _AT_ONCE)):
            self.client.call_each(script, some)
