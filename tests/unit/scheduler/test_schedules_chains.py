"""Runs of several jobs: each begins once the one before it has ended as it wants, whoever is killed where."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.states import Status
from storage.runs import RunEnd
from storage.schedules import Revision
from tests.unit.scheduler.world import HOUR, MINUTE, TENANT, FakeJob, World, live

START = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def world() -> World:
    made = World(START)
    made.seconds = lambda: 60.0
    return made


def step(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "job": {"kind": name, "input": {"text_field": "output.text"}}, **more}


def outcomes(world: World, **by_name: Status) -> None:
    """Let jobs end so, by their place in the run: ``first``, ``second``…"""
    names = itertools.cycle(["first", "second", "third"])
    world.outcomes = lambda: [by_name.get(next(names), Status.COMPLETED)]


def ends(world: World, schedule: Revision) -> list[RunEnd | None]:
    return [end for _, end in world.runs(schedule.id)]


def told(end: RunEnd | None) -> dict[str | None, str]:
    assert end is not None
    return {job["step"]: job["status"] for job in end.jobs}


def test_each_job_reads_the_one_that_it_follows(world: World) -> None:
    schedule = world.schedule(
        every=3600, then=[step("b"), step("c"), step("d", after="b"), step("e", after=None)]
    )
    world.run_to(START + HOUR + 10 * MINUTE)
    ((run, end),) = world.runs(schedule.id)
    assert end is not None
    assert end.status == "completed"
    assert told(end) == dict.fromkeys([None, "b", "c", "d", "e"], "completed")
    jobs = {name: world.steps[run.id, name] for name in ("", "b", "c", "d", "e")}
    sources = {name: job.spec.input.job for name, job in jobs.items() if job.spec is not None}
    assert sources == {
        "": None,
        "b": jobs[""].id,
        "c": jobs["b"].id,
        "d": jobs["b"].id,
        "e": jobs[""].id,
    }
    assert run.jobs == {name or None: job.id for name, job in jobs.items()}
    for name, before in (("b", ""), ("c", "b"), ("d", "b"), ("e", "")):
        assert jobs[name].at >= jobs[before].at + MINUTE
    assert [job.submissions for job in jobs.values()] == [1] * 5


@pytest.mark.parametrize(
    ("rows", "when", "reason"),
    [
        ((10, 0), {}, None),
        ((99, 1), {"max_errors": "1%"}, None),
        ((98, 2), {"max_errors": "1%"}, "2 of 100 rows failed; max_errors: 1%"),
        ((8, 2), {"max_errors": 2}, None),
        ((7, 3), {"max_errors": 2}, "3 of 10 rows failed; max_errors: 2"),
        ((10, 0), {"min_rows": 10}, None),
        ((9, 5), {"min_rows": 10}, "9 rows have results; min_rows: 10"),
    ],
)
def test_one_whose_condition_does_not_hold_is_skipped(
    world: World, rows: tuple[int, int], when: dict[str, Any], reason: str | None
) -> None:
    world.rows = rows
    schedule = world.schedule(every=3600, then=[step("b", when=when), step("c")])
    world.run_to(START + HOUR + 10 * MINUTE)
    (end,) = ends(world, schedule)
    assert end is not None
    assert end.status == "completed"
    by_step = {job["step"]: job for job in end.jobs}
    if reason is None:
        assert [job["status"] for job in end.jobs] == ["completed"] * 3
    else:
        assert by_step["b"]["status"] == by_step["c"]["status"] == "skipped"
        assert by_step["b"]["reason"] == f"of the schedule's job, {reason}"
        assert by_step["c"]["reason"] == "b is skipped"
        assert len(world.jobs) == 1


def test_a_step_that_fails_fails_the_run_after_its_retries(world: World) -> None:
    outcomes(world, second=Status.FAILED)
    schedule = world.schedule(
        every=3600, retries=2, then=[step("b"), step("c"), step("d", after=None)]
    )
    world.run_to(START + HOUR + 30 * MINUTE)
    (end,) = ends(world, schedule)
    assert end is not None
    assert (end.status, end.error, end.attempts) == ("failed", {"code": "x"}, 3)
    assert told(end) == {None: "completed", "b": "failed", "c": "skipped", "d": "completed"}


def test_retries_are_those_of_the_run(world: World) -> None:
    tries = iter(
        [[Status.FAILED, Status.COMPLETED], [Status.FAILED, Status.FAILED, Status.COMPLETED]]
    )
    world.outcomes = lambda: next(tries)
    schedule = world.schedule(every=3600, retries=2, then=[step("b")])
    world.run_to(START + HOUR + 30 * MINUTE)
    (end,) = ends(world, schedule)
    assert (end and end.status, [job.attempts for job in world.jobs.values()]) == ("failed", [2, 2])


def test_failed_steps_in_a_row_pause_the_schedule(world: World) -> None:
    schedule = world.schedule(every=3600, pause_after_failures=2, then=[step("b"), step("c")])
    world.outcomes = lambda: [Status.FAILED if len(world.jobs) % 2 else Status.COMPLETED]
    world.run_to(START + 9 * HOUR)
    assert [end and end.status for end in ends(world, schedule)] == ["failed", "failed"]
    assert world.book.get(TENANT, schedule.id).paused is not None


def test_a_run_with_unfinished_steps_goes_on(world: World) -> None:
    world.seconds = lambda: 40 * 60.0
    schedule = world.schedule(every=3600, overlap="skip", then=[step("b")])
    world.run_to(START + 2 * HOUR + MINUTE)
    decisions = [str(run.decision) for run, _ in world.runs(schedule.id)]
    assert decisions == ["fire", "overlap"], "its first job had ended long before"


@pytest.mark.parametrize("while_first", [True, False])
def test_one_that_is_cancelled_goes_no_further(world: World, while_first: bool) -> None:
    world.seconds = lambda: (70 if while_first else 40) * 60.0
    schedule = world.schedule(every=3600, overlap="cancel_previous", then=[step("b"), step("c")])
    world.run_to(START + 2 * HOUR + MINUTE)
    first, second = ends(world, schedule)
    assert first is not None
    assert (first.status, second) == ("cancelled", None)
    assert told(first)["c"] == "skipped"
    assert told(first)["b"] == ("skipped" if while_first else "cancelled")


def test_one_that_was_at_its_end_when_it_was_cancelled_goes_no_further(world: World) -> None:
    """Its job completes all the same, even after the run that took its place has ended."""
    seconds = iter([100 * 60.0, 10.0, 10.0])
    world.seconds = lambda: next(seconds)
    schedule = world.schedule(
        every=3600, overlap="cancel_previous", then=[step("b")], ends_at="2026-03-02T14:30:00Z"
    )
    world.run_to(START + HOUR + MINUTE)
    (job,) = world.jobs.values()
    job.finalizing = True
    world.run_to(START + 4 * HOUR)
    first, second = ends(world, schedule)
    assert told(second) == {None: "completed", "b": "completed"}
    assert told(first) == {None: "completed", "b": "skipped"}
    assert len(world.jobs) == 3


def test_what_was_read_may_be_deleted(world: World) -> None:
    schedule = world.schedule(every=3600, then=[step("b"), step("c")])
    world.run_to(START + HOUR + MINUTE + 30_000)
    run = world.runs(schedule.id)[0][0]
    assert (run.id, "b") in world.steps
    world.deleted.add(str(run.job))
    world.run_to(START + HOUR + 10 * MINUTE)
    (end,) = ends(world, schedule)
    assert told(end) == dict.fromkeys([None, "b", "c"], "completed")


def test_what_is_to_be_read_was_deleted(world: World) -> None:
    schedule = world.schedule(every=3600, then=[step("b")])
    world.run_to(START + HOUR + 5_000)
    world.deleted.add(str(world.runs(schedule.id)[0][0].job))
    world.run_to(START + HOUR + 10 * MINUTE)
    (end,) = ends(world, schedule)
    assert told(end) == {None: "deleted", "b": "skipped"}


def test_a_change_does_not_change_runs_that_go_on(world: World) -> None:
    schedule = world.schedule(every=3600, then=[step("b")])
    world.run_to(START + HOUR + 5_000)
    spec = schedule.spec.model_copy(update={"then": []})
    world.book.revise(TENANT, schedule.id, world.now, lambda _: spec)
    world.run_to(START + 2 * HOUR + 10 * MINUTE)
    first, second = ends(world, schedule)
    assert told(first) == {None: "completed", "b": "completed"}
    assert told(second) == {None: "completed"}


def test_a_model_or_kind_that_is_gone_refuses_its_step(world: World) -> None:
    schedule = world.schedule(every=3600, then=[step("b"), step("c")])
    world.refused = {"b"}
    world.run_to(START + HOUR + 10 * MINUTE)
    (end,) = ends(world, schedule)
    assert end is not None
    assert (end.status, told(end)) == (
        "refused",
        {None: "completed", "b": "refused", "c": "skipped"},
    )


SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


def one_night(killed_at: int) -> tuple[int, World, Revision]:
    world = World(START)
    world.seconds = lambda: 10.0
    failing = iter([[Status.COMPLETED], [Status.FAILED, Status.COMPLETED], [Status.FAILED]])
    world.outcomes = lambda: next(failing)
    schedule = world.schedule(
        every=3600,
        retries=1,
        then=[step("b"), step("c")],
        pause_after_failures=1,
        webhook={"url": "https://hooks.example.org/", "secret": SECRET},
    )
    calls = live(world, START + HOUR + 40 * MINUTE, killed_at)
    return calls, world, schedule


def test_a_scheduler_may_be_killed_at_each_of_its_calls() -> None:
    """Two steps, a retry, a failure that is told and a pause that is told: all of it once, wherever the kill falls."""
    total, plain, _ = one_night(0)
    assert total > 100
    for killed_at in range(1, total + 1):
        _, world, schedule = one_night(killed_at)
        ((run, end),) = world.runs(schedule.id)
        assert end is not None, killed_at
        assert told(end) == {None: "completed", "b": "completed", "c": "failed"}
        assert set(world.steps) == {(run.id, ""), (run.id, "b"), (run.id, "c")}
        assert attempts(world.jobs) == [1, 2, 1]
        paused = world.book.get(TENANT, schedule.id).paused
        assert paused is not None
        assert world.deliveries == [
            f"{schedule.id}:run_failed:{run.id}",
            f"{schedule.id}:paused:{paused['at']}",
        ]
        records = [found.name for found in world.store.list(f"tenants/{TENANT}/webhooks/")]
        assert len(records) == 2
    assert len(plain.deliveries) == 2


def attempts(jobs: dict[str, FakeJob]) -> list[int]:
    return [job.attempts for job in jobs.values()]
