"""A training on a group of devices is several processes, and one training: it ends, fails and goes on as one."""

from __future__ import annotations

import time
from typing import Any

import psutil
import pytest

from jobs.states import Status
from tests.integration.workers.trainings import REFERENCE, TEXTS, Trainings, meanwhile, wait_for
from tests.integration.workers.workshop import TENANT
from tests.plugins.sums_kind import expected_state


def test_each_device_has_a_process_and_whichever_is_killed_all_go_on(grouped: Trainings) -> None:
    shop = grouped.shop
    job = grouped.submit(steps=400, step_ms=25, checkpoint_every=4)
    shop.plan(job)

    def kill() -> None:
        reached = 0
        for rank in (1, 0, 2):
            grouped.reach_checkpoint(job, reached + 4)
            reached = max(grouped.checkpoints(job))
            wait_for(lambda: len(grouped.ranks()), 3, 30)
            ranks = grouped.ranks()
            assert set(ranks) == {0, 1, 2}
            ranks[rank].kill()
            killed = time.monotonic()
            _, left = psutil.wait_procs(list(ranks.values()), timeout=10)
            assert not left
            assert time.monotonic() - killed < 5, "nobody waits for who is dead"

    with meanwhile(kill):
        shop.work()
    shop.finalize(job)
    assert shop.record(job).status is Status.COMPLETED
    assert grouped.state(job) == expected_state(TEXTS, 400, REFERENCE)
    assert len(grouped.begun(job)) == 4
    grouped.nobody_left()


def test_a_cancel_frees_all_devices(grouped: Trainings) -> None:
    shop = grouped.shop
    job = grouped.submit(steps=10_000, step_ms=20)
    shop.plan(job)
    asked: list[float] = []

    def cancel() -> None:
        grouped.reach_checkpoint(job, 10)
        assert set(grouped.ranks()) == {0, 1, 2}
        shop.submissions.cancel(TENANT, job)
        asked.append(time.monotonic())

    with meanwhile(cancel):
        shop.work()
        freed = time.monotonic()
        grouped.nobody_left()
    assert freed - asked[0] < 5
    shop.finalize(job)
    assert shop.record(job).status is Status.CANCELLED


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ({"ill_rank": 1}, "model_too_large", "rank 1 has no memory"),
        ({"broken_rank": 2}, "kind_broken", "ZeroDivisionError: a bug in one rank"),
        ({"kill_at": 3}, "worker_lost", "3 times without a newer checkpoint"),
    ],
)
def test_what_is_wrong_with_one_process_is_wrong_with_the_training(
    grouped: Trainings, how: dict[str, Any], code: str, words: str
) -> None:
    job = grouped.submit(steps=10_000, step_ms=20, **how)
    grouped.shop.run(job)
    error = grouped.shop.record(job).error or {}
    assert error["code"] == code
    assert words in error["message"]
    grouped.nobody_left()
