"""A training that is killed, stopped or cut off goes on from its newest whole checkpoint, to the same model."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from jobs.settings import Settings
from jobs.states import Status
from tests.integration.conftest import Services
from tests.integration.workers.trainings import (
    REFERENCE,
    TEXTS,
    Trainings,
    meanwhile,
    wait_for,
)
from tests.integration.workers.workshop import TENANT
from tests.plugins.sums_kind import expected_state


def check(trainings: Trainings, job: str, steps: int) -> None:
    """The training came to its end as if nothing had happened."""
    trainings.shop.finalize(job)
    assert trainings.shop.record(job).status is Status.COMPLETED
    assert trainings.state(job) == expected_state(TEXTS, steps, REFERENCE)
    trainings.nobody_left()


def test_killed_at_random_moments(trainings: Trainings) -> None:
    """Each time it has come further, so no number of deaths is too many."""
    steps, moments = 120, random.Random(5)
    job = trainings.submit(steps=steps, step_ms=25, checkpoint_every=4)
    trainings.shop.plan(job)

    def kill() -> None:
        reached = 0
        for _ in range(5):
            trainings.reach_checkpoint(job, reached + 4)
            reached = max(trainings.checkpoints(job))
            time.sleep(moments.random() * 0.3)
            for process in trainings.processes():
                process.kill()

    with meanwhile(kill):
        trainings.shop.work()
    check(trainings, job, steps)
    assert len(trainings.begun(job)) > 1


def test_deaths_are_forgiven_with_each_newer_checkpoint(trainings: Trainings) -> None:
    job = trainings.submit(steps=30, step_ms=20, checkpoint_every=5, kill_after=6)
    trainings.shop.plan(job)
    trainings.shop.work()
    check(trainings, job, 30)
    assert trainings.begun(job) == [0, 5, 10, 15, 20, 25]


def test_the_two_newest_checkpoints_are_kept(trainings: Trainings) -> None:
    job = trainings.submit(steps=30, step_ms=40, checkpoint_every=5, kill_at=29)
    trainings.shop.run(job)
    assert (trainings.shop.record(job).error or {})["code"] == "worker_lost"
    assert trainings.checkpoints(job) == {20: True, 25: True}


@pytest.mark.parametrize("harm", ["unfinished", "lost", "cut", "changed", "unreadable"])
def test_a_checkpoint_that_is_not_whole_is_never_used(trainings: Trainings, harm: str) -> None:
    shop = trainings.shop
    job = trainings.submit(steps=30, step_ms=40, fill_at=29, checkpoint_bytes=100)
    shop.run(job)
    assert trainings.checkpoints(job) == {20: True, 25: True}
    root = shop.names(job).checkpoints
    (newest,) = {
        found.name.removeprefix(root).partition("/")[0]
        for found in shop.store.list(f"{root}{25:012d}")
    }
    file, mark = f"{root}{newest}/state.json", f"{root}{newest}/_COMPLETE"
    data = shop.store.get(file)
    match harm:
        case "unfinished":
            shop.store.delete(mark)
        case "lost":
            shop.store.delete(file)
        case "cut":
            shop.store.put(file, data[:-3])
        case "changed":
            shop.store.put(file, data.replace(b'"state":"', b'"state":"x', 1)[:-3] + b'"}')
        case "unreadable":
            shop.store.put(mark, b"{}")
    shop.submissions.retry(TENANT, job)
    shop.plan(job)
    shop.work()
    check(trainings, job, 30)
    assert trainings.begun(job)[-1] == 20


def test_a_training_that_hangs_is_killed(trainings: Trainings) -> None:
    shop = trainings.shop
    settings: Settings = shop.runtime.settings
    object.__setattr__(settings, "stall_seconds", 3.0)
    job = trainings.submit(hang_at=12, step_ms=20)
    shop.plan(job)
    shop.work()
    check(trainings, job, 20)
    assert trainings.begun(job) == [0, 10]


@pytest.mark.parametrize("how", [{}, {"hang_at": 12}], ids=["in steps", "in what says nothing"])
def test_a_cancel_frees_the_device_and_leaves_the_checkpoints(
    trainings: Trainings, how: dict[str, Any]
) -> None:
    """Also while it evaluates, or does whatever else asks nobody."""
    shop = trainings.shop
    job = trainings.submit(steps=10_000, step_ms=20, **how)
    shop.plan(job)
    asked = []

    def cancel() -> None:
        trainings.reach_checkpoint(job, 10)
        shop.submissions.cancel(TENANT, job)
        asked.append(time.monotonic())

    with meanwhile(cancel):
        shop.work()
        freed = time.monotonic()
    trainings.nobody_left()
    assert freed - asked[0] < 5
    shop.finalize(job)
    assert shop.record(job).status is Status.CANCELLED
    assert True in trainings.checkpoints(job).values()


def test_a_cancel_is_heard_while_the_model_is_published(
    trainings: Trainings, services: Services
) -> None:
    """Even by a worker whose upload hangs in a store that is silent; and nothing is published then."""
    shop = trainings.shop
    job = trainings.submit(steps=20, step_ms=100, model_bytes=64 << 20)
    shop.plan(job)
    asked: list[float] = []
    freed: list[float] = []

    def cancel() -> None:
        trainings.reach(job, 15)
        root = f"tenants/{TENANT}/models/added/"
        try:
            # The intent lies in the store, which is silent from here on: only the ledger is told.
            wait_for(lambda: (trainings.block(job)["phase"] == "publishing") + 0, 1, 60)
            services.pause("seaweedfs")
            shop.ledger.jobs.cancel(job)
            asked.append(time.monotonic())
            wait_for(lambda: len(freed), 1, 30)
        finally:
            services.resume("seaweedfs")
        assert [one for one in shop.store.list(root) if one.name.endswith("version.json")] == []

    with meanwhile(cancel):
        shop.work()
        freed.append(time.monotonic())
    assert freed[0] - asked[0] < 5
    shop.finalize(job)
    assert shop.record(job).status is Status.CANCELLED
    assert True in trainings.checkpoints(job).values()


def test_a_ledger_that_is_away_for_longer_than_a_lease_ends_nothing(
    trainings: Trainings, services: Services
) -> None:
    """The training computes on, but no checkpoint goes out before the ledger has answered."""
    shop = trainings.shop
    object.__setattr__(shop.runtime.settings, "lease_seconds", 2.0)
    job = trainings.submit(steps=300, step_ms=50, checkpoint_every=10)
    shop.plan(job)
    held: list[int] = []

    def take_away() -> None:
        trainings.reach_checkpoint(job, 10)
        services.pause("valkey")
        try:
            time.sleep(4.0)  # the lease is over on the worker's own clock
            held.append(max(trainings.checkpoints(job)))
            time.sleep(2.0)
            held.append(max(trainings.checkpoints(job)))
        finally:
            services.resume("valkey")
        trainings.reach_checkpoint(job, held[-1] + 30)

    with meanwhile(take_away):
        shop.work()
    assert held[0] == held[1]
    check(trainings, job, 300)
    assert trainings.begun(job) == [0]


def test_a_store_that_is_away_delays_checkpoints_and_nothing_else(
    trainings: Trainings, services: Services
) -> None:
    job = trainings.submit(steps=400, step_ms=50, checkpoint_every=10)
    shop = trainings.shop
    shop.plan(job)
    before = after = 0

    def take_away() -> None:
        nonlocal before, after
        trainings.reach_checkpoint(job, 10)
        trainings.reach(job, 10)
        services.pause("seaweedfs")
        try:
            before = trainings.block(job)["step"]
            trainings.reach(job, before + 100)
            after = trainings.block(job)["step"]
        finally:
            services.resume("seaweedfs")
        trainings.reach_checkpoint(job, after)

    with meanwhile(take_away):
        shop.work()
    check(trainings, job, 400)
    assert after >= before + 100
    assert trainings.begun(job) == [0]


def test_a_worker_that_must_stop_leaves_a_checkpoint_and_that_is_no_attempt(
    trainings: Trainings,
) -> None:
    shop = trainings.shop
    job = trainings.submit(steps=100, step_ms=20, checkpoint_every=1000)
    shop.plan(job)

    def stop() -> None:
        trainings.reach(job, 5)
        shop.runtime.draining.set()

    with meanwhile(stop):
        shop.work_once()
    trainings.nobody_left()
    redis = shop.ledger.client.redis
    assert redis.hgetall(f"job:{job}:attempts") == {}
    assert redis.hgetall(f"job:{job}:leases") == {}
    (step,) = trainings.checkpoints(job)
    assert step >= 5
    shop.runtime.draining.clear()
    shop.work()
    check(trainings, job, 100)
    assert trainings.begun(job) == [0, step]


def test_the_time_to_drain_can_cover_a_slow_upload(
    trainings: Trainings, services: Services
) -> None:
    shop = trainings.shop
    object.__setattr__(shop.runtime.settings, "drain_seconds", 40.0)
    job = trainings.submit(steps=200, step_ms=20, checkpoint_every=1000)
    shop.plan(job)

    def stop() -> None:
        trainings.reach(job, 5)
        services.pause("seaweedfs")
        try:
            shop.runtime.draining.set()
            time.sleep(5)  # longer than the three seconds that there are otherwise
        finally:
            services.resume("seaweedfs")

    with meanwhile(stop):
        shop.work_once()
    trainings.nobody_left()
    ((step, whole),) = trainings.checkpoints(job).items()
    assert whole
    shop.runtime.draining.clear()
    shop.work()
    check(trainings, job, 200)
    assert trainings.begun(job) == [0, step]


def test_another_job_need_not_wait_for_its_end(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = trainings.shop
    slots: list[str] = []
    monkeypatch.setattr(shop.broker, "invite", lambda slot, *_: slots.append(slot))
    object.__setattr__(shop.runtime.settings, "slice_seconds", 1.0)
    job = trainings.submit(steps=200, step_ms=40, checkpoint_every=1000)
    shop.plan(job)
    other = ""

    def submit() -> None:
        nonlocal other
        trainings.reach(job, 5)
        other = shop.submit(["quick"])
        shop.plan(other)
        deadline = time.monotonic() + 30
        while not shop.record(other).completed:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert shop.record(job).completed == 0

    with meanwhile(submit):
        shop.work()
        while slots:  # at a slice's end the worker invites itself again
            shop.worker.serve(slots.pop())
    check(trainings, job, 200)
    assert len(trainings.begun(job)) > 1
