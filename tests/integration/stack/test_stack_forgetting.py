"""Valkey dies and comes back without its last second: what was promised in that second is kept all the same.

A machine that loses power does this: the append-only file is synced once a second.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.chaos.aof import AofHistory
from tests.chaos.patient import Patient
from tests.integration.stack.dialogue import numbered, outcome, upload
from tests.integration.stack.running import RunningStack, wait_for
from textmill import Job, Textmill
from textmill.errors import TextmillError

#: Submissions that the ledger forgot are looked for when Redis has restarted, and every minute.
BACK_SECONDS = 90.0


@pytest.fixture
def patient(stack: RunningStack) -> Iterator[Patient]:
    """The stack, such that Valkey can be robbed of its memory."""
    with AofHistory(stack.data_dir / "data" / "valkey" / "appendonlydir") as history:
        wait_for(lambda: history.since() > 1, 10)
        yield Patient(stack, history)
    stack.note_processes()


def now(job: Job) -> Job | None:
    """The job as it is, or None while the API cannot say."""
    with contextlib.suppress(TextmillError):
        return job.refresh()
    return None


def back_and_ended(job: Job) -> Job:
    """The job once the ledger knows of it again and it has ended."""
    wait_for(lambda: (found := now(job)) and found.ended, BACK_SECONDS)
    return job.refresh()


def test_shards_that_the_ledger_forgot_are_planned_again(patient: Patient, tm: Textmill) -> None:
    """The job itself is remembered; of its shards those of the last second are not, wherever planning is by then."""
    rows = 80_000
    job = tm.jobs.create(kind="echo", input=upload(tm, numbered(rows)))
    submitted = time.monotonic()
    wait_for(lambda: job.refresh().counts.completed, 60)
    time.sleep(max(0.0, submitted + 1.5 - time.monotonic()))
    assert patient.cut_valkey() > 0
    results, errors = outcome(back_and_ended(job))
    assert (len(results), errors) == (rows, [])
    assert results[-1]["output"]["text"] == f"text number {rows - 1}"


def test_a_job_that_the_ledger_forgot_is_done(patient: Patient, tm: Textmill) -> None:
    key = secrets.token_hex(8)
    job = tm.jobs.create(kind="echo", input=["a", "b"], idempotency_key=key)
    assert patient.cut_valkey() > 0
    results, _ = outcome(back_and_ended(job))
    assert [row["output"]["text"] for row in results] == ["a", "b"]
    assert tm.jobs.create(kind="echo", input=["a", "b"], idempotency_key=key).id == job.id


def test_a_cancel_that_the_ledger_forgot_holds(
    patient: Patient, tm: Textmill, http: httpx.Client
) -> None:
    job = tm.jobs.create(kind="echo", input=upload(tm, numbered(4000)), params={"delay_ms": 20})
    wait_for(lambda: job.refresh().counts.completed, 60)
    assert http.post(f"/v1/jobs/{job.id}/cancel").status_code == 200
    patient.cut_valkey()
    found = back_and_ended(job)
    assert found.status == "cancelled"
    assert 0 < len(list(found.results())) == found.counts.completed < 4000
