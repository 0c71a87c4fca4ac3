"""``kill -9`` of one part of the stack while a job runs: it comes back, and every row is there once."""

from __future__ import annotations

import pytest

from tests.integration.stack.dialogue import numbered, outcome, upload
from tests.integration.stack.running import COMMANDS, RunningStack, wait_for
from textmill import Job, Textmill

ROWS = 2000

#: Within which a killed part must run again; SeaweedFS needs up to 25 s to open its data.
BACK_SECONDS = 60.0


@pytest.fixture(scope="module")
def rows(tm: Textmill) -> str:
    """An uploaded file."""
    return upload(tm, numbered(ROWS))


def check(job: Job) -> None:
    results, errors = outcome(job)
    assert errors == []
    assert [row["output"]["text"] for row in results] == [f"text number {n}" for n in range(ROWS)]
    assert job.refresh().attempts == 1


def running(tm: Textmill, rows: str) -> Job:
    """A job of some seconds, some of it done."""
    job = tm.jobs.create(kind="echo", input=rows, params={"delay_ms": 2})
    wait_for(lambda: job.refresh().counts.completed, 60)
    return job


@pytest.mark.parametrize("name", COMMANDS)
def test_a_part_is_killed_while_a_job_runs(
    stack: RunningStack, tm: Textmill, rows: str, name: str
) -> None:
    job = running(tm, rows)
    victim = stack.process(name)
    assert victim is not None
    stack.note_processes()
    victim.kill()
    check(job)
    wait_for(lambda: stack.process(name) not in {None, victim}, BACK_SECONDS)
    wait_for(lambda: tm.ready().ok, BACK_SECONDS)
    stack.note_processes()


def test_the_process_that_computes_is_killed(stack: RunningStack, tm: Textmill, rows: str) -> None:
    job = running(tm, rows)
    parent = stack.process("worker")
    stack.pool_child("worker").kill()
    check(job)
    assert stack.process("worker") == parent
    stack.note_processes()


def test_the_planner_is_killed(stack: RunningStack, tm: Textmill) -> None:
    """Some shards are there already; the next planner cuts the rest at the same places."""
    count = 30_000
    job = tm.jobs.create(kind="echo", input=upload(tm, numbered(count)))
    wait_for(lambda: job.refresh().status == "in_progress", 30)
    victim = stack.process("control")
    assert victim is not None
    victim.kill()
    assert job.refresh().counts.total is None, "too late: planning was over"
    results, errors = outcome(job)
    assert (len(results), errors) == (count, [])
    assert results[-1]["output"]["text"] == f"text number {count - 1}"
    stack.note_processes()
