"""Planning: only the planner adds, adding is idempotent, and when a job can be finalized."""

from __future__ import annotations

import pytest

from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.states import Status
from storage.ledger import Answer
from storage.ledger.jobs import FIRST_PLANNER_MS
from storage.ledger.ranges import RESEND_MS
from tests.integration.storage.ledgerbench import JOB, LEASE_MS, LedgerBench, new_job

#: A planner's lease, in ms.
PLANNER_MS = LEASE_MS

FIRST, SECOND = RowRange(0, 10), RowRange(10, 20)


def test_a_job_begins_with_its_first_range(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job())
    token = new_token()
    assert bench.ranges.plan_begin(JOB, token) is Answer.OK
    assert bench.status() is Status.VALIDATING
    assert bench.ranges.add(JOB, token, FIRST) is Answer.OK
    assert bench.status() is Status.IN_PROGRESS
    record = bench.jobs.find(JOB)
    assert record is not None
    assert (record.total, record.started_at) == (None, None)
    bench.now += 7
    bench.lease()
    assert bench.ranges.seal(JOB, token, 10, "[]") is Answer.OK
    record = bench.jobs.find(JOB)
    assert record is not None
    assert (record.total, record.started_at) == (10, bench.now)


def test_one_planner_at_a_time(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job())
    first, second = new_token(), new_token()
    assert bench.ranges.plan_begin(JOB, first) is Answer.OK
    assert bench.ranges.plan_begin(JOB, first) is Answer.OK
    assert bench.ranges.plan_begin(JOB, second) is Answer.HELD
    bench.now += PLANNER_MS - 1
    assert bench.ranges.plan_begin(JOB, second) is Answer.HELD
    bench.now += 1
    assert bench.ranges.plan_begin(JOB, second) is Answer.OK
    assert bench.ranges.plan_begin(JOB, first) is Answer.HELD


def test_a_replaced_planner_is_lost(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job())
    old, new = new_token(), new_token()
    bench.ranges.plan_begin(JOB, old)
    assert bench.ranges.add(JOB, old, FIRST) is Answer.OK
    bench.now += PLANNER_MS
    assert bench.ranges.plan_begin(JOB, new) is Answer.OK
    assert bench.ranges.add(JOB, old, SECOND) is Answer.LOST
    assert bench.ranges.seal(JOB, old, 10, "[]") is Answer.LOST
    assert bench.ranges.add(JOB, new, FIRST) is Answer.OK  # the same range: nothing happens
    assert bench.ranges.add(JOB, new, SECOND) is Answer.OK
    assert bench.ranges.seal(JOB, new, 20, "[]") is Answer.OK
    assert [bench.lease()[0], bench.lease()[0]] == [FIRST, SECOND]
    assert bench.ranges.claim(JOB, new_token()) is None


@pytest.mark.parametrize("token", ["", "0" * 32])
def test_add_and_seal_need_the_planners_token(bench: LedgerBench, token: str) -> None:
    bench.plan(10, 10, seal=False)
    assert bench.ranges.add(JOB, token, SECOND) is Answer.LOST
    assert bench.ranges.seal(JOB, token, 10, "[]") is Answer.LOST
    record = bench.jobs.find(JOB)
    assert record is not None
    assert record.total is None


def test_adding_renews_the_planners_lease(bench: LedgerBench) -> None:
    token, _ = bench.plan(10, 10, seal=False)
    bench.now += PLANNER_MS - 1
    assert bench.ranges.add(JOB, token, SECOND) is Answer.OK
    bench.now += PLANNER_MS - 1
    assert bench.ranges.plan_begin(JOB, new_token()) is Answer.HELD
    assert bench.ranges.sweep(JOB).stuck == ""


@pytest.mark.parametrize("state", ["pending", "leased", "done", "split"])
def test_a_range_seen_before_is_never_added_again(bench: LedgerBench, state: str) -> None:
    planner, _ = bench.plan(10, 10, seal=False)
    expected: list[RowRange] = [FIRST] if state == "pending" else []
    if state != "pending":
        rows, token = bench.lease()
        if state == "done":
            bench.commit(rows, token)
        if state == "split":
            done, rest = rows.cut(3)
            bench.commit(rows, token, done=done)
            expected = [rest]
    assert bench.ranges.add(JOB, planner, FIRST) is Answer.OK
    assert bench.claimable() == expected


def test_what_is_sealed_needs_no_planner(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.now += 10 * PLANNER_MS
    assert bench.ranges.plan_begin(JOB, new_token()) is Answer.OVER
    assert bench.ranges.sweep(JOB).stuck == ""


def test_the_last_commit_makes_a_sealed_job_finalizable(bench: LedgerBench) -> None:
    bench.plan(20, 10)
    one, other = bench.lease(), bench.lease()
    assert bench.commit(*one) is Answer.OK  # the other is leased
    assert bench.status() is Status.IN_PROGRESS
    assert bench.commit(*other) is Answer.FINALIZE
    assert bench.status() is Status.FINALIZING


def test_a_pending_range_keeps_a_job_from_being_finalized(bench: LedgerBench) -> None:
    bench.plan(20, 10)
    assert bench.commit(*bench.lease()) is Answer.OK
    assert bench.status() is Status.IN_PROGRESS


def test_sealing_makes_a_job_finalizable_whose_rows_are_done(bench: LedgerBench) -> None:
    planner, _ = bench.plan(10, 10, seal=False)
    assert bench.commit(*bench.lease()) is Answer.OK  # not sealed
    assert bench.status() is Status.IN_PROGRESS
    assert bench.ranges.seal(JOB, planner, 10, "[]") is Answer.FINALIZE
    assert bench.status() is Status.FINALIZING


def test_the_sweep_makes_a_job_finalizable_that_nothing_else_did(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.commit(*bench.lease())
    # As after a restart of Redis that forgot the last write to the record.
    bench.client.redis.hset(f"job:{JOB}", "status", "in_progress")
    swept = bench.ranges.sweep(JOB)
    assert (swept.status, swept.stuck) == (Status.FINALIZING, "finalize")


def test_the_sweep_does_not_finalize_what_is_leased_or_unsealed(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.lease()
    assert bench.ranges.sweep(JOB).status is Status.IN_PROGRESS
    bench.plan(10, 10, job=new_job("job_b"), seal=False)
    bench.commit(*bench.lease("job_b"), job_id="job_b")
    assert bench.ranges.sweep("job_b").status is Status.IN_PROGRESS


def test_a_planner_that_never_came_is_sent_for_once_per_grace(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job())
    bench.now += FIRST_PLANNER_MS - 1
    assert bench.ranges.sweep(JOB).stuck == ""
    for _ in range(3):
        bench.now += 1
        assert bench.ranges.sweep(JOB).stuck == "plan"
        assert bench.ranges.sweep(JOB).stuck == ""
        bench.now += RESEND_MS - 1
        assert bench.ranges.sweep(JOB).stuck == ""


def test_a_planner_that_died_is_replaced(bench: LedgerBench) -> None:
    planner, _ = bench.plan(10, 10, seal=False)
    bench.now += PLANNER_MS
    assert bench.ranges.sweep(JOB).stuck == "plan"
    assert bench.ranges.add(JOB, planner, SECOND) is Answer.LOST
    assert bench.ranges.plan_begin(JOB, new_token()) is Answer.OK
    assert bench.ranges.sweep(JOB).stuck == ""


def test_a_finalizer_is_sent_for_once_per_grace(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.commit(*bench.lease())
    for _ in range(3):
        assert bench.ranges.sweep(JOB).stuck == "finalize"
        assert bench.ranges.sweep(JOB).stuck == ""
        bench.now += RESEND_MS - 1
        assert bench.ranges.sweep(JOB).stuck == ""
        bench.now += 1
    token = new_token()
    assert bench.ranges.final_begin(JOB, token) == (Answer.OK, "")
    assert bench.ranges.sweep(JOB).stuck == ""


def test_warnings_of_planning_are_in_the_record(bench: LedgerBench) -> None:
    planner, _ = bench.plan(10, 10, seal=False)
    bench.ranges.seal(JOB, planner, 10, '[{"code": "repeated_custom_id", "count": 2}]')
    record = bench.jobs.find(JOB)
    assert record is not None
    assert record.warnings == [{"code": "repeated_custom_id", "count": 2}]
