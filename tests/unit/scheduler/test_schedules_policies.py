"""What schedules do with firings that were missed, that overlap, and whose runs fail: each policy by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from jobs.errors import Conflict, NotFound
from jobs.schedules import ScheduleSpec
from jobs.states import Status
from storage.runs import Decision
from storage.schedules import Revision
from tests.unit.scheduler.world import DAY, HOUR, JOB, MINUTE, TENANT, World

START = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def world() -> World:
    return World(START)


def decisions(world: World, schedule: Revision) -> list[str]:
    return [str(run.decision) for run, _ in world.runs(schedule.id)]


def statuses(world: World, schedule: Revision) -> list[str | None]:
    return [end.status if end else None for _, end in world.runs(schedule.id)]


def outage(world: World, until: int) -> None:
    """Time in which nobody looks."""
    world.now = until
    world.run_to(until)


# --- missed ------------------------------------------------------------------------------------------


def test_of_missed_firings_the_newest_is_made_up_for(world: World) -> None:
    schedule = world.schedule(every=3600, missed="run_once")
    outage(world, START + 5 * HOUR + 10 * MINUTE)
    assert decisions(world, schedule) == ["missed"] * 4 + ["fire"]
    assert [run.late for run, _ in world.runs(schedule.id)] == [False] * 4 + [True]
    assert len(world.jobs) == 1


def test_missed_firings_are_all_made_up_for_one_after_another(world: World) -> None:
    world.seconds = lambda: 600.0
    schedule = world.schedule(every=3600, missed="run_all", overlap="skip")
    outage(world, START + 5 * HOUR + 10 * MINUTE)
    assert len(world.jobs) == 1
    world.run_to(world.now + 9 * MINUTE)
    assert len(world.jobs) == 1, "the second waits for the first"
    world.run_to(START + 6 * HOUR + 40 * MINUTE)
    assert decisions(world, schedule)[:5] == ["fire"] * 5
    begun = sorted(job.at for job in world.jobs.values())
    gaps = [two - one for one, two in pairwise(begun)]
    assert min(gaps) >= 10 * MINUTE


def test_missed_firings_are_left_out(world: World) -> None:
    schedule = world.schedule(every=3600, missed="skip")
    outage(world, START + 5 * HOUR + 10 * MINUTE)
    assert decisions(world, schedule) == ["missed"] * 5
    world.run_to(START + 6 * HOUR + MINUTE)
    assert decisions(world, schedule) == ["missed"] * 5 + ["fire"]


@pytest.mark.parametrize("missed", ["run_once", "run_all"])
def test_what_was_missed_before_the_window_is_not_made_up_for(world: World, missed: str) -> None:
    schedule = world.schedule(every=3600, missed=missed, missed_window_seconds=900)
    outage(world, START + 2 * HOUR + 20 * MINUTE)
    assert decisions(world, schedule) == ["missed", "missed"]
    assert world.jobs == {}


def test_more_than_can_wait_is_made_up_for_all_the_same(world: World) -> None:
    world.seconds = lambda: 60.0
    schedule = world.schedule(every=60, missed="run_all", ends_at="2026-03-02T13:00:00Z")
    outage(world, START + 2 * HOUR)
    world.run_to(START + 5 * HOUR)
    assert decisions(world, schedule) == ["fire"] * 59
    assert statuses(world, schedule) == ["completed"] * 59


def test_a_year_without_a_scheduler_is_accounted_for(world: World) -> None:
    schedule = world.schedule(cron="0 */6 * * *")
    outage(world, START + 365 * DAY)
    found = decisions(world, schedule)
    assert (len(found), found.count("fire"), found[-1]) == (4 * 365, 1, "fire")


# --- overlap -----------------------------------------------------------------------------------------


def test_a_firing_is_left_out_while_a_run_goes_on(world: World) -> None:
    world.seconds = lambda: 100 * 60.0
    schedule = world.schedule(every=3600, overlap="skip")
    world.run_to(START + 3 * HOUR + MINUTE)
    assert decisions(world, schedule) == ["fire", "overlap", "fire"]
    reason = world.runs(schedule.id)[1][0].reason
    assert reason == f"run {START + HOUR} has not ended; overlap: skip"


def test_a_firing_waits_for_the_run_before_it(world: World) -> None:
    world.seconds = lambda: 100 * 60.0
    schedule = world.schedule(every=3600, overlap="queue", ends_at="2026-03-02T15:30:00Z")
    world.run_to(START + 2 * HOUR + MINUTE)
    assert (decisions(world, schedule), len(world.jobs)) == (["fire", "fire"], 1)
    world.run_to(START + 8 * HOUR)
    assert statuses(world, schedule) == ["completed"] * 3
    begun = sorted(job.at for job in world.jobs.values())
    assert min(two - one for one, two in pairwise(begun)) >= 100 * MINUTE


def test_not_more_than_ten_wait(world: World) -> None:
    world.seconds = lambda: DAY / 1000
    schedule = world.schedule(every=3600, overlap="queue")
    world.run_to(START + 15 * HOUR)
    assert decisions(world, schedule) == ["fire"] * 11 + ["overlap"] * 4


def test_a_firing_cancels_the_run_before_it(world: World) -> None:
    world.seconds = lambda: 100 * 60.0
    schedule = world.schedule(every=3600, overlap="cancel_previous")
    world.run_to(START + 3 * HOUR + MINUTE)
    assert decisions(world, schedule) == ["fire"] * 3
    assert statuses(world, schedule) == ["cancelled", "cancelled", None]


# --- failures ----------------------------------------------------------------------------------------


def test_a_failed_run_is_tried_again(world: World) -> None:
    world.outcomes = lambda: [Status.FAILED, Status.EXPIRED, Status.COMPLETED]
    schedule = world.schedule(every=3600, retries=2)
    world.run_to(START + HOUR + 10 * MINUTE)
    assert statuses(world, schedule) == ["completed"]
    assert [job.attempts for job in world.jobs.values()] == [3]


@pytest.mark.parametrize("retries", [0, 1])
def test_a_run_is_not_tried_more_often_than_that(world: World, retries: int) -> None:
    world.outcomes = lambda: [Status.FAILED]
    schedule = world.schedule(every=3600, retries=retries)
    world.run_to(START + HOUR + 30 * MINUTE)
    assert statuses(world, schedule) == ["failed"]
    assert [job.attempts for job in world.jobs.values()] == [retries + 1]


def test_failures_in_a_row_pause_the_schedule(world: World) -> None:
    results = iter(
        [Status.FAILED, Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED]
    )
    world.outcomes = lambda: [next(results)]
    schedule = world.schedule(every=3600, pause_after_failures=2)
    world.run_to(START + 9 * HOUR)
    assert statuses(world, schedule) == ["failed", "completed", "failed", "cancelled", "expired"]
    paused = world.book.get(TENANT, schedule.id).paused
    assert paused is not None
    assert paused["code"] == "too_many_failures"
    assert str(START + 5 * HOUR) in paused["message"]


def test_one_that_was_resumed_starts_to_count_anew(world: World) -> None:
    world.outcomes = lambda: [Status.FAILED]
    schedule = world.schedule(every=3600, pause_after_failures=2)
    world.run_to(START + 5 * HOUR)
    world.book.resume(TENANT, schedule.id)
    world.run_to(START + 6 * HOUR + MINUTE)
    assert world.book.get(TENANT, schedule.id).paused is None
    assert len(world.runs(schedule.id)) == 3, "nothing of the pause is made up for"
    world.run_to(START + 9 * HOUR)
    assert world.book.get(TENANT, schedule.id).paused is not None


def test_a_job_that_nobody_takes_is_a_failed_run(world: World) -> None:
    schedule = world.schedule(every=3600, pause_after_failures=1)
    world.refused = {"echo"}
    world.run_to(START + 3 * HOUR)
    ((run, end),) = world.runs(schedule.id)
    assert end is not None
    assert (run.decision, end.status, end.error) == (
        Decision.FIRE,
        "refused",
        {"code": "invalid_request", "message": "kind: no such kind"},
    )
    assert world.book.get(TENANT, schedule.id).paused is not None


# --- late --------------------------------------------------------------------------------------------


def test_a_run_that_has_not_completed_by_the_next_firing_is_late(world: World) -> None:
    world.outcomes = lambda: [Status.FAILED]
    schedule = world.schedule(every=3600)
    world.run_to(START + HOUR + 50 * MINUTE)
    assert world.turns.late_since == {}
    world.outcomes = lambda: [Status.COMPLETED]
    world.run_to(START + 2 * HOUR)
    assert world.turns.late_since == {schedule.id: START + 2 * HOUR}
    world.run_to(START + 3 * HOUR + MINUTE)
    assert world.turns.late_since == {}


def test_a_run_that_has_not_completed_in_its_time_is_late(world: World) -> None:
    world.seconds = lambda: 1800.0
    schedule = world.schedule(cron="0 13 * * *", complete_within_seconds=600)
    world.run_to(START + HOUR + 9 * MINUTE)
    assert world.turns.late_since == {}
    world.run_to(START + HOUR + 20 * MINUTE)
    assert world.turns.late_since == {schedule.id: START + HOUR + 10 * MINUTE}
    world.run_to(START + 2 * HOUR)
    assert world.turns.late_since == {}


# --- changes -----------------------------------------------------------------------------------------


def test_a_paused_schedule_does_not_fire_and_what_ran_is_followed(world: World) -> None:
    world.seconds = lambda: 90 * 60.0
    schedule = world.schedule(every=3600)
    world.run_to(START + HOUR + MINUTE)
    world.book.pause(TENANT, schedule.id, code="asked", message="paused by hand")
    world.run_to(START + 9 * HOUR)
    assert statuses(world, schedule) == ["completed"]
    assert world.turns.due == {}


def test_a_run_by_hand_moves_nothing_and_needs_no_turn(world: World) -> None:
    schedule = world.schedule(every=3600)
    world.book.pause(TENANT, schedule.id, code="asked", message="paused by hand")
    world.run_to(START + 10 * MINUTE)
    run, end = world.firings.trigger(TENANT, schedule.id)
    again, _ = world.firings.trigger(TENANT, schedule.id)
    assert (run.manual, end, run.job in world.jobs) == (True, None, True)
    assert again.job != run.job
    world.book.resume(TENANT, schedule.id)
    world.run_to(START + HOUR + MINUTE)
    assert statuses(world, schedule) == ["completed"] * 3
    assert [run.manual for run, _ in world.runs(schedule.id)] == [True, True, False]


def test_another_timing_counts_from_the_change(world: World) -> None:
    schedule = world.schedule(cron="0 * * * *")
    world.run_to(START + 2 * HOUR + MINUTE)
    spec = ScheduleSpec.model_validate({"cron": "30 * * * *", "job": JOB})
    world.book.revise(TENANT, schedule.id, world.now, lambda _: spec)
    world.run_to(START + 4 * HOUR)
    fired = [(run.fire_at - START) / HOUR for run, _ in world.runs(schedule.id)]
    assert fired == [1, 2, 2.5, 3.5]


def test_a_change_is_made_to_what_the_one_before_left(world: World) -> None:
    """Somebody pauses it while somebody else's change is under way: both count."""
    schedule = world.schedule(every=3600)
    first = True

    def decide(newest: Revision) -> Revision:
        nonlocal first
        if first:
            first = False
            world.book.pause(TENANT, schedule.id, code="asked", message="by hand")
        spec = newest.spec.model_copy(update={"name": "new"})
        return Revision(**{**vars(newest), "spec": spec})

    world.book.change(TENANT, schedule.id, decide)
    found = world.book.get(TENANT, schedule.id)
    assert (found.number, found.spec.name, found.paused is not None) == (2, "new", True)


def test_a_deleted_schedule_is_gone_and_stays_so(world: World) -> None:
    schedule = world.schedule(every=3600)
    world.run_to(START + 3 * HOUR)
    world.book.delete(TENANT, schedule.id)
    world.turns.enter(TENANT, schedule.id, 0)
    world.run_to(START + 9 * HOUR)
    assert (world.turns.due, len(world.jobs), world.runs(schedule.id)) == ({}, 3, [])
    with pytest.raises(NotFound):
        world.book.get(TENANT, schedule.id)
    assert world.book.page(TENANT, after=None, limit=10) == ([], False)


def test_a_ledger_that_was_lost_knows_them_again(world: World) -> None:
    kept, gone = world.schedule(every=3600), world.schedule(every=3600)
    world.book.delete(TENANT, gone.id)
    world.turns.due.clear()
    world.turns.revisions.clear()
    assert world.book.restore(TENANT, "token") == 1
    world.run_to(START + 2 * HOUR + MINUTE)
    assert (decisions(world, kept), decisions(world, gone)) == (["fire", "fire"], [])


def test_what_the_ledger_forgot_is_noticed(world: World) -> None:
    schedule = world.schedule(every=3600)
    assert not world.book.refresh(TENANT, schedule.id)
    world.turns.forget(TENANT, schedule.id)
    assert world.book.refresh(TENANT, schedule.id)
    world.book.delete(TENANT, schedule.id)
    world.turns.enter(TENANT, schedule.id, 0)
    assert world.book.refresh(TENANT, schedule.id)
    assert world.turns.due == {}


def test_the_same_key_makes_one_schedule(world: World) -> None:
    spec = ScheduleSpec.model_validate({"every": 3600, "job": JOB})
    other = ScheduleSpec.model_validate({"every": 7200, "job": JOB})
    key = "schedule_" + "0" * 26
    first, new = world.book.create(TENANT, spec, key)
    again, same = world.book.create(TENANT, spec, key)
    assert (new, same, first.id) == (True, False, again.id)
    with pytest.raises(Conflict):
        world.book.create(TENANT, other, key)
    world.book.delete(TENANT, key)
    with pytest.raises(Conflict):
        world.book.create(TENANT, spec, key)
