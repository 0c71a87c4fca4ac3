"""What is done is joined while the job still runs, and nothing is lost or doubled by that."""

from __future__ import annotations

import pytest

from jobs.ranges import RowRange
from jobs.states import Status
from tests.integration.workers.workshop import TENANT, Workshop, expected, texts
from workers.finalizer import finalize_job, gather_job
from workers.progress import Progress

Lease = tuple[RowRange, str]


def submit_held(shop: Workshop, rows: list[str | None]) -> tuple[str, list[Lease]]:
    """A planned job whose ranges are all in other hands."""
    job = shop.submit(rows)
    shop.plan(job)
    leases: list[Lease] = []
    while sum(len(rows) for rows, _ in leases) < (shop.record(job).total or 0):
        leases.append(shop.lease(job))
    return job, leases


def let_work(shop: Workshop, job: str, *leases: Lease) -> None:
    """Give these back, and have them computed."""
    for rows, token in leases:
        shop.ledger.ranges.release(job, rows, token)
    shop.work()


def joined(shop: Workshop, job: str) -> int:
    """Rows that are joined so far."""
    state = shop.ledger.client.redis.hget(f"job:{job}", "final_state")
    return Progress.decode(str(state)).next_row if state else 0


def test_what_is_done_from_the_first_row_on_is_joined_before_the_end(shop: Workshop) -> None:
    job, [first, second, *others] = submit_held(shop, texts(20))
    let_work(shop, job, *others)
    gather_job(shop.runtime, job)
    assert joined(shop, job) == 0
    let_work(shop, job, first)
    gather_job(shop.runtime, job)
    assert joined(shop, job) == second[0].start
    let_work(shop, job, second)
    assert shop.record(job).status is Status.FINALIZING
    gather_job(shop.runtime, job)  # whoever gathers also ends the job
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(20)), {})


def test_parts_that_were_joined_are_not_read_again(shop: Workshop) -> None:
    job, [*others, last] = submit_held(shop, [*texts(19), None])
    let_work(shop, job, *others)
    gather_job(shop.runtime, job)
    for name in shop.parts(job):
        shop.store.delete(name)
    let_work(shop, job, last)
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(19)), {19: "missing_text"})


def test_a_part_that_is_lost_is_computed_again_in_the_end(shop: Workshop) -> None:
    job, [*others, last] = submit_held(shop, texts(20))
    let_work(shop, job, *others)
    shop.store.delete(shop.parts(job)[1])
    gather_job(shop.runtime, job)
    let_work(shop, job, last)
    shop.finalize(job)
    assert not shop.record(job).status.ended
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(20)), {})


def test_what_was_joined_and_is_lost_is_joined_again_in_the_end(shop: Workshop) -> None:
    job, [*others, last] = submit_held(shop, texts(20))
    let_work(shop, job, *others)
    gather_job(shop.runtime, job)
    for found in list(shop.store.list(shop.names(job).prefix + "out/")):
        shop.store.delete(found.name)
    gather_job(shop.runtime, job)
    let_work(shop, job, last)
    shop.finalize(job)  # takes back what it cannot find
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(20)), {})


@pytest.mark.parametrize("early", [True, False])
def test_a_cancelled_job_keeps_what_was_joined(shop: Workshop, early: bool) -> None:
    job, [*others, last] = submit_held(shop, texts(20))
    let_work(shop, job, *others)
    gather_job(shop.runtime, job)
    shop.submissions.cancel(TENANT, job)
    (gather_job if early else finalize_job)(shop.runtime, job)
    assert shop.outcome(job) == (Status.CANCELLED, expected(range(last[0].start)), {})


def test_a_worker_has_it_begun_once_enough_waits(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(shop.broker, "gather", lambda job, _lane: asked.append(job))
    monkeypatch.setattr("storage.ledger.ranges.GATHER_BYTES", 1)
    job, leases = submit_held(shop, texts(20))
    let_work(shop, job, *leases)
    assert asked == [job] * (len(leases) - 1)
