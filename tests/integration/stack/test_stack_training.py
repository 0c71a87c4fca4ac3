"""Trainings as users submit them, with whole processes killed at random moments."""

from __future__ import annotations

import random
import time
from typing import Any

import httpx
import pytest

from tests.integration.stack.dialogue import problem
from tests.integration.stack.running import RunningStack, wait_for
from textmill import Job, Textmill

ITEMS = [{"text": f"text {number}"} for number in range(5)]
REFERENCE = "scratch:sums"
STEPS = 150


def submit(tm: Textmill, **params: Any) -> Job:
    given = {"output_name": "sums", "steps": STEPS, "checkpoint_every": 5, **params}
    return tm.jobs.create(kind="sums", model=REFERENCE, input=ITEMS, params=given)


def expected_version(tm: Textmill) -> str:
    """The version that an undisturbed training makes."""
    (row,) = submit(tm).wait(timeout=120).results()
    return str(row["output"]["version"])


def saved(job: Job) -> int:
    """The step of the newest checkpoint that is known to be whole."""
    training = job.refresh().training
    return (training.checkpoint or 0) if training else 0


def test_workers_are_killed_at_random_moments(stack: RunningStack, tm: Textmill) -> None:
    """The parent too: what trains for it must not go on alone."""
    wanted = expected_version(tm)
    moments = random.Random(11)
    job = submit(tm, step_ms=40)
    for kill in (_kill_trainer, _kill_pool_child, _kill_worker):
        before = saved(job)
        wait_for(lambda before=before: saved(job) > before, 90)  # type: ignore[misc]
        time.sleep(moments.random())
        old = stack.trainers()
        stack.note_processes()
        kill(stack)
        wait_for(lambda old=old: not any(one.is_running() for one in old), 5)  # type: ignore[misc]
    done = job.wait(timeout=180)
    stack.note_processes()
    (row,) = done.results()
    assert row["output"]["version"] == wanted
    assert done.training is not None
    assert (done.training.step, done.attempts) == (STEPS, 1)
    assert stack.trainers() == []


def _kill_trainer(stack: RunningStack) -> None:
    for process in stack.trainers():
        process.kill()


def _kill_pool_child(stack: RunningStack) -> None:
    stack.pool_child("worker").kill()


def _kill_worker(stack: RunningStack) -> None:
    worker = stack.process("worker")
    assert worker is not None
    worker.kill()


def test_the_model_is_in_the_registry(tm: Textmill) -> None:
    version = expected_version(tm)
    model = tm.models.get("sums")
    assert model.aliases["latest"] == version


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "classify", "params": {}}, "model"),
        ({"model": "scratch:no/path"}, "model"),
        ({"params": {"output_name": "x", "validation": "file_no"}}, "params.validation"),
    ],
)
def test_what_a_training_alone_may_name(
    http: httpx.Client, change: dict[str, Any], field: str
) -> None:
    body = {
        "kind": "sums",
        "model": REFERENCE,
        "input": {"items": ITEMS},
        "params": {"output_name": "x"},
        **change,
    }
    problem(http.post("/v1/jobs", json=body), 422, "invalid_request", field)
