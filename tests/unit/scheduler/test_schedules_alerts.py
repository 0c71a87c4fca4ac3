"""What the webhook of a schedule is told: each thing once, however often somebody looks and whoever is killed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from jobs.errors import Conflict
from jobs.states import Status
from storage.schedules import Revision
from storage.webhooks import DeliveryTable
from tests.unit.scheduler.world import HOUR, MINUTE, TENANT, World, live

START = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp() * 1000)
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
WEBHOOK = {"url": "https://hooks.example.org/", "secret": SECRET}


@pytest.fixture
def world() -> World:
    return World(START)


def told(world: World, schedule: Revision) -> list[str]:
    """The events that the ledger knows of, in order."""
    return [one.removeprefix(f"{schedule.id}:") for one in world.deliveries]


def event(world: World, delivery: str) -> dict[str, Any]:
    return DeliveryTable(world.store).get(TENANT, delivery).event


def test_one_that_is_late_for_nights_is_told_of_once(world: World) -> None:
    world.outcomes = lambda: [Status.CANCELLED]
    schedule = world.schedule(every=3600, webhook=WEBHOOK, name="nightly")
    world.run_to(START + 5 * HOUR + MINUTE)
    late = START + 2 * HOUR
    assert told(world, schedule) == [f"late:{late}"]
    assert event(world, world.deliveries[0]) == {
        "type": "schedule.late",
        "timestamp": "2026-03-02T14:00:00.000Z",
        "data": {
            "schedule": {"id": schedule.id, "name": "nightly"},
            "late_since": "2026-03-02T14:00:00.000Z",
        },
    }
    world.outcomes = lambda: [Status.COMPLETED]
    world.run_to(START + 8 * HOUR + MINUTE)
    assert told(world, schedule) == [f"late:{late}", f"recovered:{late}"]
    world.outcomes = lambda: [Status.CANCELLED]
    world.run_to(START + 11 * HOUR + MINUTE)
    assert told(world, schedule)[2:] == [f"late:{START + 10 * HOUR}"]


def test_one_that_never_ran_is_late_at_its_deadline(world: World) -> None:
    """Nobody was there to fire it, and what was missed is left out."""
    schedule = world.schedule(
        every=3600, missed="skip", complete_within_seconds=1800, webhook=WEBHOOK
    )
    world.now = START + HOUR + 10 * MINUTE
    world.run_to(START + HOUR + 20 * MINUTE)
    assert told(world, schedule) == []
    world.run_to(START + HOUR + 31 * MINUTE)
    assert told(world, schedule) == [f"late:{START + HOUR + 30 * MINUTE}"]
    assert world.jobs == {}


def test_one_that_failures_pause_is_late_no_more(world: World) -> None:
    world.outcomes = lambda: [Status.FAILED]
    schedule = world.schedule(every=3600, pause_after_failures=3, webhook=WEBHOOK)
    world.run_to(START + 9 * HOUR)
    paused = world.book.get(TENANT, schedule.id).paused
    assert paused is not None
    runs = [f"run_failed:{START + hour * HOUR}" for hour in (1, 2, 3)]
    late = f"late:{START + 2 * HOUR}"
    assert told(world, schedule) == [runs[0], late, runs[1], runs[2], f"paused:{paused['at']}"]
    assert event(world, world.deliveries[-1])["data"]["paused"]["code"] == "too_many_failures"
    assert event(world, world.deliveries[0])["data"]["run"]["status"] == "failed"
    world.book.resume(TENANT, schedule.id)
    world.outcomes = lambda: [Status.COMPLETED]
    world.run_to(START + 12 * HOUR)
    assert len(world.deliveries) == 5


def test_one_without_a_webhook_tells_nobody(world: World) -> None:
    world.outcomes = lambda: [Status.FAILED]
    schedule = world.schedule(every=3600, pause_after_failures=3)
    world.run_to(START + 9 * HOUR)
    assert world.deliveries == []
    assert list(world.store.list(f"tenants/{TENANT}/webhooks/")) == []
    assert world.book.get(TENANT, schedule.id).paused is not None


def test_a_pause_by_hand_is_not_told(world: World) -> None:
    schedule = world.schedule(every=3600, webhook=WEBHOOK)
    world.book.pause(TENANT, schedule.id, code="asked", message="by hand")
    world.run_to(START + 5 * HOUR)
    assert world.deliveries == []


def test_a_run_that_is_tried_again_has_not_failed(world: World) -> None:
    world.outcomes = lambda: [Status.FAILED, Status.COMPLETED]
    schedule = world.schedule(every=3600, retries=1, webhook=WEBHOOK)
    world.run_to(START + 3 * HOUR)
    assert told(world, schedule) == []


def test_a_run_by_hand_that_is_refused_is_told(world: World) -> None:
    schedule = world.schedule(every=3600, webhook=WEBHOOK)
    world.refused = {"echo"}
    run, end = world.firings.trigger(TENANT, schedule.id)
    assert (end and end.status, told(world, schedule)) == ("refused", [f"run_failed:{run.id}"])


def night(killed_at: int) -> tuple[int, World, Revision]:
    """Late, and recovered."""
    world = World(START)
    endings = iter([[Status.CANCELLED], [Status.COMPLETED]])
    world.outcomes = lambda: next(endings)
    schedule = world.schedule(every=3600, complete_within_seconds=600, webhook=WEBHOOK)
    return live(world, START + 2 * HOUR + 5 * MINUTE, killed_at), world, schedule


def test_a_scheduler_may_be_killed_at_each_of_its_calls() -> None:
    total, _, _ = night(0)
    assert total > 60
    since = START + HOUR + 10 * MINUTE
    for killed_at in range(1, total + 1):
        _, world, schedule = night(killed_at)
        assert told(world, schedule) == [f"late:{since}", f"recovered:{since}"], killed_at
        assert len(list(world.store.list(f"tenants/{TENANT}/webhooks/"))) == 2


def test_what_is_still_to_be_told_is_known_again_when_the_ledger_was_lost(world: World) -> None:
    world.outcomes = lambda: [Status.FAILED]
    schedule = world.schedule(every=3600, webhook=WEBHOOK)
    other = world.schedule(every=3600, webhook=WEBHOOK)
    world.run_to(START + HOUR + MINUTE)
    known = set(world.deliveries)
    assert len(known) == 2
    world.deliveries.clear()
    DeliveryTable(world.store).restore(TENANT, world.ledger, "token")
    assert set(world.deliveries) == known
    world.book.delete(TENANT, schedule.id)
    left = list(DeliveryTable(world.store).of_schedules(TENANT))
    assert [one.schedule for one in left] == [other.id]
    assert DeliveryTable(world.store).target(left[0]) is not None
    assert SECRET not in orjson.dumps(left[0].public()).decode()


# --- runs by hand ------------------------------------------------------------------------------------


def test_the_same_key_makes_one_run(world: World) -> None:
    schedule = world.schedule(every=86_400)
    first, _ = world.firings.trigger(TENANT, schedule.id, key="a")
    world.run_to(START + 10 * MINUTE)
    again, end = world.firings.trigger(TENANT, schedule.id, key="a")
    assert (again.id, end and end.status) == (first.id, "completed")
    world.deleted.add(str(first.job))
    assert world.firings.trigger(TENANT, schedule.id, key="a")[1] == end
    other, _ = world.firings.trigger(TENANT, schedule.id, key="b")
    assert other.id != first.id
    with pytest.raises(Conflict):
        world.firings.trigger(TENANT, schedule.id, key="a", full=True)
    assert len(world.runs(schedule.id)) == 2
    assert len(world.runs(schedule.id)) == len(world.jobs)


def test_two_keys_at_one_moment_make_two_runs(world: World) -> None:
    schedule = world.schedule(every=86_400)
    made = [world.firings.trigger(TENANT, schedule.id, key=key)[0].id for key in "abab"]
    assert made[:2] == made[2:]
    assert len(set(made)) == 2
