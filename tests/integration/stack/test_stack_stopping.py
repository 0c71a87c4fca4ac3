"""Cancelling a job and stopping a worker: what runs stops within seconds, and nothing that was done is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import redis

from jobs.ranges import RowRange
from tests.integration.stack.dialogue import ended, numbered, outcome, upload
from tests.integration.stack.running import RunningStack, pool_children, wait_for
from tests.integration.stack.traces import Computed, read_trace
from textmill import Job, Textmill

WORKERS = 2

#: Rows of the job whose worker is told to stop.
ROWS = 2500

#: Seconds after the answer to a cancel from which on nothing more may be computed for the job.
CANCEL_SECONDS = 5.0

#: Seconds within which the shard of a worker that was told to stop must run elsewhere.
MOVE_SECONDS = 10.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack with two model workers."""
    running = RunningStack(tmp_path_factory.mktemp("pair"), workers=WORKERS)
    try:
        running.start()
        yield running
        running.stop()
    finally:
        running.end()


@pytest.fixture(scope="module")
def client(pair: RunningStack) -> Iterator[Textmill]:
    """The SDK, talking to it."""
    with Textmill(pair.client.url, pair.client.api_key) as client:
        yield client


def all_at_work(client: Textmill, rows: int, trace: Path) -> Job:
    """A job of which something is committed while every worker computes."""
    params = {"delay_ms": 8, "trace": str(trace)}
    job = client.jobs.create(kind="echo", input=upload(client, numbered(rows)), params=params)
    wait_for(lambda: len({one.pid for one in read_trace(trace)}) == WORKERS, 60)
    wait_for(lambda: job.refresh().counts.completed, 60)
    return job


def texts_are_right(rows: list[dict[str, object]]) -> bool:
    return all(row["output"] == {"text": f"text number {row['index']}"} for row in rows)


def test_nothing_is_computed_after_a_cancel(client: Textmill, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    job = all_at_work(client, 20_000, trace)
    job.cancel()
    answered = time.monotonic()
    partial = list(job.results(partial=True))
    assert partial
    assert texts_are_right(partial)
    job = ended(job)
    assert job.status == "cancelled"
    kept = list(job.results())
    assert len(kept) == job.counts.completed >= len(partial)
    assert texts_are_right(kept)
    assert {row["index"] for row in partial} <= {row["index"] for row in kept}
    time.sleep(max(0.0, answered + CANCEL_SECONDS + 3 - time.monotonic()))
    last = max(one.at for one in read_trace(trace))
    assert answered - 1 < last < answered + CANCEL_SECONDS
    assert list(job.results(partial=True)) == kept


def computing(ledger: redis.Redis, job: Job, trace: Path, pid: int) -> RowRange | None:
    """The range that this process has leased, once it has begun with it and while most of it is still to be done."""
    own = [one for one in read_trace(trace) if one.pid == pid]
    names = cast("dict[str, str]", ledger.hgetall(f"job:{job.id}:leases"))
    for rows in map(RowRange.parse, names):
        if own and rows.start <= own[-1].last < (rows.start + rows.stop) / 2:
            return rows
    return None


def test_a_worker_told_to_stop_gives_its_shard_to_another(
    pair: RunningStack, client: Textmill, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    job = all_at_work(client, ROWS, trace)
    worker = pair.processes("worker")[0]
    (child,) = pool_children(worker)
    most_attempts = 0
    with pair.redis() as ledger:
        wait_for(lambda: computing(ledger, job, trace, child.pid), 60)
        rows = computing(ledger, job, trace, child.pid)
        assert rows is not None
        told = time.monotonic()
        worker.terminate()

        def moved() -> list[Computed]:
            """What others computed of the range; the attempts are looked at meanwhile."""
            nonlocal most_attempts
            attempts = cast("dict[str, str]", ledger.hgetall(f"job:{job.id}:attempts"))
            most_attempts = max([most_attempts, *map(int, attempts.values())])
            others = [one for one in read_trace(trace) if one.pid != child.pid]
            return [one for one in others if rows.start <= one.first < rows.stop]

        wait_for(moved, MOVE_SECONDS)
        assert moved()[0].at - told < MOVE_SECONDS
        wait_for(lambda: moved() and job.refresh().ended, 120)
    assert most_attempts == 1, "a claim beside the first counted as an attempt"
    results, errors = outcome(job)
    assert (len(results), errors) == (ROWS, [])
    assert texts_are_right(results)
    computed = [row for one in read_trace(trace) for row in range(one.first, one.last + 1)]
    assert len(computed) < ROWS + 100, "what the worker had done was thrown away"
    assert not child.is_running()
    wait_for(lambda: len(pair.processes("worker")) == WORKERS, 60)
