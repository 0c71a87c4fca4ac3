"""How jobs end: outcomes, too many errors, the finalizer, and that an end is an end."""

from __future__ import annotations

import dataclasses

import pytest

from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.states import ENDED, Status
from storage.ledger import Answer
from storage.ledger.ranges import GATHER_BYTES
from tests.integration.storage.ledgerbench import JOB, LEASE_MS, LedgerBench, new_job

FINALIZER_MS = LEASE_MS
ERROR = {"code": "model_not_found", "message": "no such model"}


def end(bench: LedgerBench, status: Status, ended_at: int) -> bool:
    """End the job as a manifest of this status would."""
    return bench.jobs.finish(dataclasses.replace(bench.record(), status=status, ended_at=ended_at))


@pytest.mark.parametrize("planned", [False, True])
def test_a_cancel_is_decided_once(bench: LedgerBench, planned: bool) -> None:
    if planned:
        bench.plan(10, 10)
    else:
        bench.jobs.enter(new_job())
    assert bench.jobs.cancel(JOB) == (True, Status.CANCELLING)
    assert bench.jobs.cancel(JOB) == (False, Status.CANCELLING)
    assert not bench.jobs.fail(JOB, ERROR)
    record = bench.record()
    assert (record.status, record.outcome, record.error) == (Status.CANCELLING, "cancelled", None)


def test_a_failure_is_decided_once(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    assert bench.jobs.fail(JOB, ERROR)
    assert bench.jobs.cancel(JOB) == (False, Status.FINALIZING)
    assert not bench.jobs.fail(JOB, {"code": "other", "message": ""})
    record = bench.record()
    assert (record.outcome, record.error) == ("failed", ERROR)


def test_nothing_is_committed_once_the_outcome_is_decided(bench: LedgerBench) -> None:
    bench.plan(40, 10)
    before, first, second, third = (bench.lease() for _ in range(4))
    assert bench.commit(*before) is Answer.OK
    bench.jobs.cancel(JOB)
    assert bench.ranges.heartbeat(JOB, *first) is Answer.STOP
    assert bench.commit(*first) is Answer.STOP
    assert bench.commit(*second, done=second[0].cut(25)[0]) is Answer.STOP
    assert bench.ranges.release(JOB, *third) is Answer.OK
    assert bench.counts() == (10, 0)
    assert [part.rows for part in bench.ranges.parts(JOB)] == [before[0]]
    assert bench.ranges.claim(JOB, new_token()) is None
    assert bench.ranges.choose([]) is None


def test_a_decided_job_takes_no_ranges(bench: LedgerBench) -> None:
    planner, _ = bench.plan(10, 10, seal=False)
    bench.jobs.cancel(JOB)
    assert bench.ranges.add(JOB, planner, RowRange(10, 20)) is Answer.LOST
    assert bench.ranges.seal(JOB, planner, 10, "[]") is Answer.LOST
    assert bench.ranges.plan_begin(JOB, planner) is Answer.OVER


def test_expired_leases_of_a_decided_job_do_not_come_back(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.lease()
    bench.jobs.cancel(JOB)
    bench.lapse()
    assert bench.ranges.sweep(JOB).expired == 1
    assert bench.ranges.sweep(JOB).expired == 0
    assert bench.ranges.choose([]) is None


def test_a_job_that_is_being_finalized_cannot_be_cancelled(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.commit(*bench.lease())
    assert bench.jobs.cancel(JOB) == (False, Status.FINALIZING)
    assert bench.record().outcome is None


@pytest.mark.parametrize("first", sorted(ENDED))
@pytest.mark.parametrize("second", sorted(ENDED))
def test_an_ended_state_never_changes(bench: LedgerBench, first: Status, second: Status) -> None:
    bench.plan(10, 10)
    bench.commit(*bench.lease())
    assert end(bench, first, 1)
    assert not end(bench, second, 2)
    assert bench.jobs.cancel(JOB) == (False, first)
    assert not bench.jobs.fail(JOB, ERROR)
    swept = bench.ranges.sweep(JOB)
    assert (swept.status, swept.stuck) == (first, "")
    record = bench.record()
    assert (record.status, record.ended_at, record.error) == (first, 1, None)


def test_an_ended_job_leaves_only_its_record_and_what_was_told_of_it(bench: LedgerBench) -> None:
    bench.plan(20, 10)
    leased, other = bench.lease(), bench.lease()
    bench.commit(*other)
    bench.jobs.cancel(JOB)
    assert bench.jobs.active() == {JOB}
    assert end(bench, Status.CANCELLED, 1)
    assert bench.jobs.active() == set()
    assert set(bench.client.redis.keys(f"job:{JOB}*")) == {f"job:{JOB}", f"job:{JOB}:events"}
    assert bench.commit(*leased) is Answer.LOST
    assert bench.ranges.heartbeat(JOB, *leased) is Answer.LOST
    assert bench.ranges.release(JOB, *leased) is Answer.LOST
    assert bench.ranges.claim(JOB, new_token()) is None
    assert bench.ranges.plan_begin(JOB, new_token()) is Answer.OVER
    assert bench.ranges.final_begin(JOB, new_token()) == (Answer.OVER, "")
    assert bench.counts() == (10, 0)


def test_an_end_before_planning_was_done_asks_for_no_planner(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job())
    bench.jobs.cancel(JOB)
    end(bench, Status.CANCELLED, 1)
    bench.now += 3_600_000
    assert bench.ranges.sweep(JOB).stuck == ""


def test_one_finalizer_at_a_time_and_its_state_is_handed_on(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    first, second = new_token(), new_token()
    assert bench.ranges.final_begin(JOB, first) == (Answer.OVER, "")
    bench.commit(*bench.lease())
    assert bench.ranges.final_begin(JOB, first) == (Answer.OK, "")
    assert bench.ranges.final_begin(JOB, second) == (Answer.HELD, "")
    assert bench.ranges.final_begin(JOB, first, '{"upload": "u1"}')[0] is Answer.OK
    bench.now += FINALIZER_MS - 1
    assert bench.ranges.final_begin(JOB, second, '{"upload": "u2"}') == (Answer.HELD, "")
    bench.now += 1
    assert bench.ranges.final_begin(JOB, second) == (Answer.OK, '{"upload": "u1"}')
    assert bench.ranges.final_begin(JOB, first) == (Answer.HELD, "")


def test_who_joins_parts_early_is_asked_for_once_enough_waits(bench: LedgerBench) -> None:
    bench.plan(60, 10)
    early, late = new_token(), new_token()
    assert bench.commit(*bench.lease(), size=GATHER_BYTES - 1) is Answer.OK
    assert bench.commit(*bench.lease(), size=1) is Answer.GATHER
    assert bench.commit(*bench.lease(), size=1) is Answer.OK  # from here on it is counted anew
    assert bench.ranges.final_begin(JOB, late) == (Answer.OVER, "")  # it still runs
    assert bench.ranges.final_begin(JOB, early, early=True) == (Answer.OK, "")
    assert bench.commit(*bench.lease(), size=GATHER_BYTES) is Answer.OK  # somebody is at it
    assert bench.ranges.final_begin(JOB, early, "half", early=True) == (Answer.OK, "half")
    assert bench.commit(*bench.lease()) is Answer.OK
    assert bench.commit(*bench.lease()) is Answer.FINALIZE
    assert bench.ranges.final_begin(JOB, early, early=True) == (Answer.OK, "half")
    assert bench.ranges.final_begin(JOB, late) == (Answer.HELD, "")
    bench.ranges.pause(JOB, "finalizer", early, 0, "")
    assert bench.ranges.final_begin(JOB, late) == (Answer.OK, "half")


def test_nothing_is_joined_early_that_is_being_restored(bench: LedgerBench) -> None:
    bench.plan(20, 10)
    bench.commit(*bench.lease())
    bench.client.redis.hset(f"job:{JOB}", "restoring", "somebody")
    assert bench.ranges.final_begin(JOB, new_token(), early=True) == (Answer.HELD, "")


def fail_rows(bench: LedgerBench, errors: int) -> Answer:
    rows, token = bench.lease()
    return bench.commit(rows, token, errors=errors)


def test_more_failed_rows_than_allowed_end_the_job(bench: LedgerBench) -> None:
    bench.plan(100, 10, job=new_job(max_error_rows=5), seal=False)
    assert fail_rows(bench, 5) is Answer.OK
    other = bench.lease()
    assert fail_rows(bench, 1) is Answer.FINALIZE
    record = bench.record()
    assert (record.status, record.outcome, record.failed) == (Status.FINALIZING, "failed", 6)
    assert record.error is not None
    assert (record.error["code"], record.error["field"]) == ("too_many_errors", "max_errors")
    assert bench.commit(*other) is Answer.STOP


def test_no_failed_row_allowed(bench: LedgerBench) -> None:
    bench.plan(100, 10, job=new_job(max_error_rows=0))
    assert fail_rows(bench, 0) is Answer.OK
    assert fail_rows(bench, 1) is Answer.FINALIZE


def test_a_percentage_is_judged_only_once_the_total_is_known(bench: LedgerBench) -> None:
    planner, _ = bench.plan(100, 10, job=new_job(max_error_share=0.05), seal=False)
    assert fail_rows(bench, 10) is Answer.OK
    assert bench.status() is Status.IN_PROGRESS
    assert bench.ranges.seal(JOB, planner, 100, "[]") is Answer.FINALIZE
    assert bench.record().outcome == "failed"


@pytest.mark.parametrize("percent", [1, 7, 14, 28, 29, 55, 57, 58, 100])
def test_a_percentage_is_exact(bench: LedgerBench, percent: int) -> None:
    """In floating point 0.29 * 100 is less than 29."""
    bench.plan(100, 100, job=new_job(max_error_share=percent / 100))
    rows, token = bench.lease()
    assert bench.commit(rows, token, errors=percent) is Answer.FINALIZE
    assert bench.record().outcome is None


def test_a_percentage_goes_on_being_judged(bench: LedgerBench) -> None:
    bench.plan(100, 10, job=new_job(max_error_share=0.05))
    assert fail_rows(bench, 5) is Answer.OK
    assert fail_rows(bench, 1) is Answer.FINALIZE
    assert bench.record().outcome == "failed"


def test_describing_the_model_changes_the_version_and_makes_no_job(bench: LedgerBench) -> None:
    bench.jobs.enter(new_job())
    before = bench.record().version
    bench.jobs.set_model(JOB, {"ref": "pkg:x", "engine": "torch"})
    assert bench.record().version > before
    assert bench.record().model == {"ref": "pkg:x", "engine": "torch"}
    bench.jobs.set_model("job_forgotten", {"ref": "pkg:x"})
    assert bench.jobs.find("job_forgotten") is None
    assert bench.jobs.enter(new_job("job_forgotten"))
