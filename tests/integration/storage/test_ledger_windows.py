"""Completion windows, further generations, forgetting, and roles that are put down for a while."""

from __future__ import annotations

import dataclasses

import pytest

from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.states import Status
from storage.ledger import Answer, NewJob
from storage.ledger.jobs import FIRST_PLANNER_MS
from tests.integration.storage.ledgerbench import JOB, TENANT, LedgerBench, new_job

WINDOW_MS = 60_000


def with_window() -> NewJob:
    return new_job(window_ms=WINDOW_MS)


def end(bench: LedgerBench, status: Status = Status.COMPLETED) -> None:
    """End the job as a manifest of this status would."""
    ended = dataclasses.replace(bench.record(), status=status, ended_at=bench.now)
    assert bench.jobs.finish(ended)


def retry(bench: LedgerBench, generation: int, base: int, window: int | str = "") -> bool:
    arguments = (JOB, generation, base, FIRST_PLANNER_MS, window, bench.now)
    return bool(bench.client.call("retry", *arguments)[0])


# --- the completion window -----------------------------------------------------------------------------


def test_a_job_expires_when_its_window_has_passed_and_not_before(bench: LedgerBench) -> None:
    bench.plan(20, 10, job=with_window())
    done, lease = bench.lease(), bench.lease()
    bench.commit(*done)
    bench.now += WINDOW_MS - 1
    bench.ranges.heartbeat(JOB, *lease)
    assert bench.ranges.sweep(JOB).status is Status.IN_PROGRESS
    bench.now += 1
    assert bench.ranges.sweep(JOB).status is Status.FINALIZING
    assert bench.record().outcome == "expired"
    assert bench.ranges.heartbeat(JOB, *lease) is Answer.STOP
    assert bench.commit(*lease) is Answer.STOP
    assert bench.counts() == (10, 0)
    assert bench.ranges.final_begin(JOB, new_token())[0] is Answer.OK


def test_a_job_without_a_window_never_expires(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.now += 1000 * WINDOW_MS
    assert bench.ranges.sweep(JOB).status is Status.IN_PROGRESS


def test_a_job_that_is_being_finalized_expires_no_more(bench: LedgerBench) -> None:
    bench.plan(10, 10, job=with_window())
    bench.commit(*bench.lease())
    bench.now += 2 * WINDOW_MS
    bench.ranges.sweep(JOB)
    assert bench.record().outcome is None


@pytest.mark.parametrize("begun", [False, True])
def test_an_expired_job_is_planned_to_its_end_but_not_computed(
    bench: LedgerBench, begun: bool
) -> None:
    """Its rows that nobody reached become errors, so they must be known: no finalizer before that."""
    bench.jobs.enter(with_window())
    planner = new_token()
    bench.ranges.plan_begin(JOB, planner)
    if begun:
        bench.ranges.add(JOB, planner, RowRange(0, 10))
    bench.now += WINDOW_MS
    swept = bench.ranges.sweep(JOB)
    assert (swept.status, swept.stuck) == (Status.FINALIZING, "plan")
    assert bench.ranges.final_begin(JOB, new_token()) == (Answer.HELD, "")
    heir = new_token()
    assert bench.ranges.plan_begin(JOB, heir) is Answer.OK
    assert bench.ranges.add(JOB, heir, RowRange(0, 10)) is Answer.OK
    assert bench.ranges.add(JOB, heir, RowRange(10, 20)) is Answer.OK
    assert bench.ranges.claim(JOB, new_token()) is None
    assert bench.ranges.choose([]) is None
    assert bench.ranges.seal(JOB, heir, 20, "[]") is Answer.FINALIZE
    assert bench.record().total == 20
    assert bench.ranges.final_begin(JOB, new_token())[0] is Answer.OK


def test_a_cancel_before_the_window_passed_stands(bench: LedgerBench) -> None:
    bench.plan(10, 10, job=with_window())
    bench.jobs.cancel(JOB)
    bench.now += WINDOW_MS
    bench.ranges.sweep(JOB)
    assert (bench.status(), bench.record().outcome) == (Status.CANCELLING, "cancelled")
    assert bench.client.call("outcome", JOB, "expired", "")[0] == 0


# --- further generations ----------------------------------------------------------------------------------


def failed_once(bench: LedgerBench) -> tuple[RowRange, str]:
    """A job of 20 rows that was cancelled with 9 results and one error; a lease that was open then."""
    bench.plan(20, 10, job=with_window())
    rows, token = bench.lease()
    bench.commit(rows, token, errors=1)
    zombie = bench.lease()
    bench.jobs.cancel(JOB)
    end(bench, Status.CANCELLED)
    return zombie


def test_a_retry_begins_a_generation_once(bench: LedgerBench) -> None:
    failed_once(bench)
    assert not retry(bench, 3, 9)  # not the next one
    assert retry(bench, 2, 9, WINDOW_MS)
    assert not retry(bench, 2, 9)
    record = bench.record()
    assert (record.status, record.attempts, record.outcome) == (Status.VALIDATING, 2, None)
    assert (record.base, record.completed, record.failed) == (9, 9, 0)
    assert (record.total, record.ended_at, record.expires_at) == (None, None, bench.now + WINDOW_MS)
    assert bench.jobs.active() == {JOB}


def test_only_an_ended_job_is_tried_again(bench: LedgerBench) -> None:
    bench.plan(20, 10)
    assert not retry(bench, 2, 0)
    assert bench.record().attempts == 1


def test_what_was_leased_before_a_retry_is_lost(bench: LedgerBench) -> None:
    """Also where the new generation's range has the same name and is leased."""
    rows, zombie = failed_once(bench)
    retry(bench, 2, 9)
    planner = new_token()
    bench.ranges.plan_begin(JOB, planner)
    bench.ranges.add(JOB, planner, rows)
    token = new_token()
    claim = bench.claim(token=token)
    assert (claim.rows, claim.generation, claim.deaths) == (rows, 2, 0)
    assert bench.ranges.heartbeat(JOB, rows, zombie) is Answer.LOST
    assert bench.commit(rows, zombie) is Answer.LOST
    assert bench.ranges.release(JOB, rows, zombie) is Answer.LOST
    assert bench.counts() == (9, 0)
    assert bench.commit(rows, token) is Answer.OK


def test_the_total_counts_the_rows_of_all_generations(bench: LedgerBench) -> None:
    failed_once(bench)
    retry(bench, 2, 9)
    planner = new_token()
    bench.ranges.plan_begin(JOB, planner)
    bench.ranges.add(JOB, planner, RowRange(0, 11))
    bench.ranges.seal(JOB, planner, 11, "[]")
    assert bench.record().total == 20
    assert bench.commit(*bench.lease()) is Answer.FINALIZE
    assert bench.counts() == (20, 0)


def test_a_manifest_of_another_generation_ends_nothing(bench: LedgerBench) -> None:
    failed_once(bench)
    old = bench.record()
    retry(bench, 2, 9)
    assert not bench.jobs.finish(old)
    assert bench.status() is Status.VALIDATING


# --- forgetting --------------------------------------------------------------------------------------------


def test_only_an_ended_job_is_forgotten(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    assert not bench.jobs.forget(JOB)
    bench.commit(*bench.lease())
    assert not bench.jobs.forget(JOB)
    end(bench)
    assert bench.jobs.forget(JOB)
    assert bench.jobs.find(JOB) is None
    assert bench.client.redis.keys(f"*{JOB}*") == []
    assert bench.client.redis.zcard(f"tenant:{TENANT}:jobs") == 0
    assert bench.jobs.forget(JOB)  # asked again: still gone


# --- roles that are put down -------------------------------------------------------------------------------


def test_a_planner_that_pauses_is_sent_for_after_that(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job())
    planner = new_token()
    bench.ranges.plan_begin(JOB, planner)
    bench.ranges.pause(JOB, "planner", planner, 2.0, "the store is away")
    assert bench.record().waiting == "the store is away"
    bench.now += 1_999
    assert bench.ranges.sweep(JOB).stuck == ""
    bench.now += 1
    assert bench.ranges.sweep(JOB).stuck == "plan"


def test_who_was_replaced_pauses_nobody(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job())
    planner = new_token()
    bench.ranges.plan_begin(JOB, planner)
    bench.ranges.pause(JOB, "planner", new_token(), 1000.0, "")
    assert bench.record().waiting is None
    assert bench.ranges.add(JOB, planner, RowRange(0, 1)) is Answer.OK


def test_a_finalizer_that_pauses_leaves_what_it_had_finished(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.commit(*bench.lease())
    first, second = new_token(), new_token()
    bench.ranges.final_begin(JOB, first, '{"pieces": 1}')
    bench.ranges.pause(JOB, "finalizer", first, 2.0, "the store is away")
    assert bench.ranges.sweep(JOB).stuck == ""
    bench.now += 2_000
    assert bench.ranges.sweep(JOB).stuck == "finalize"
    assert bench.ranges.final_begin(JOB, second) == (Answer.OK, '{"pieces": 1}')
