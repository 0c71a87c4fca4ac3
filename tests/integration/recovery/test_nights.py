"""Schedulers, Redis and a worker are killed while a schedule's run is made: it ends once, and complete."""

from __future__ import annotations

import io
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import orjson
import psutil
import pytest
import urllib3
from minio import Minio

from tests.integration.recovery.losses import come_back_empty
from tests.integration.stack.commands import server_process
from tests.integration.stack.running import RunningStack, pool_children, wait_for
from textmill import NotFound, Schedule, Textmill

BUCKET = "corpora"
OBJECTS, ROWS = 24, 50

#: Generous: a busy machine may take long for what is done in a few seconds.
SECONDS = 180.0

#: Life of a scheduler at first, and how often each dies. What it looked at when it died waits for half a minute.
LIFE_SECONDS, DEATHS = 2.5, 4


@pytest.fixture
def corpus(stack: RunningStack) -> Iterator[str]:
    """The prefix of some objects with rows."""
    with urllib3.PoolManager() as pool:
        s3 = stack.minio(pool)
        if not s3.bucket_exists(BUCKET):
            s3.make_bucket(BUCKET)
        folder = f"{secrets.token_hex(6)}/"
        for number in range(OBJECTS):
            rows = [
                {"custom_id": f"{number}-{row}", "text": _text(number, row)} for row in range(ROWS)
            ]
            _put(s3, f"{folder}{number:03d}.jsonl", rows)
        yield folder


def _text(number: int, row: int) -> str:
    return f"row {row} of object {number}"


def _put(s3: Minio, name: str, rows: list[dict[str, str]]) -> None:
    data = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    s3.put_object(BUCKET, name, io.BytesIO(data), len(data))


class _Schedulers:
    """Two schedulers, the stack's and one beside it, each killed a few times."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self._other: subprocess.Popen[str] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._kill, name="kills", daemon=True)
        self.killed = 0

    def __enter__(self) -> Self:
        self._begin()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._end()

    def _kill(self) -> None:
        # One of them at a time, about when the firing is due and while the run is made; then they are let live.
        for _ in range(DEATHS):
            if self._done.wait(LIFE_SECONDS):
                break
            victim = self._stack.process("scheduler")
            if victim is not None:
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
                    self.killed += 1
            if self._done.wait(LIFE_SECONDS):
                break
            self._end()
            self.killed += 1
            self._begin()

    def _begin(self) -> None:
        own = self._stack.embedded.environment()
        self._other = server_process(self._stack, "scheduler", env=own)

    def _end(self) -> None:
        if self._other is not None:
            self._other.kill()
            self._other.communicate()


def _progress(tm: Textmill, schedule: Schedule) -> list[tuple[str, int]]:
    """Status of each run, and how many rows its job has done; none while only the decision to submit it is made."""
    found = []
    for run in tm.schedules.runs(schedule.id):
        done = 0
        if run.job is not None:
            with suppress(NotFound):
                done = tm.jobs.get(run.job).counts.completed
        found.append((run.status, done))
    return found


def test_a_night_of_deaths_ends_once_and_complete(
    stack: RunningStack, tm: Textmill, corpus: str, tmp_path: Path
) -> None:
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=6)
    schedule = tm.schedules.create(
        job={
            "kind": "echo",
            "params": {"delay_ms": 20},
            "input": {"uri": f"s3://{BUCKET}/{corpus}"},
        },
        every=60,
        starts_at=starts.isoformat(timespec="seconds"),
        ends_at=(starts + timedelta(seconds=30)).isoformat(timespec="seconds"),
    )
    with _Schedulers(stack) as schedulers:
        wait_for(lambda: any(done > ROWS for _, done in _progress(tm, schedule)), SECONDS)
        worker = stack.process("worker")
        assert worker is not None
        for victim in [*pool_children(worker), worker]:
            victim.kill()
        wait_for(lambda: any(done > 6 * ROWS for _, done in _progress(tm, schedule)), SECONDS)
        come_back_empty(stack)
        time.sleep(6)
    assert schedulers.killed >= 4
    wait_for(lambda: [status for status, _ in _progress(tm, schedule)] == ["completed"], SECONDS)
    (run,) = tm.schedules.runs(schedule.id)
    assert run.job is not None
    assert not run.manual
    rows = list(tm.jobs.get(run.job).results())
    assert [row["index"] for row in rows] == list(range(OBJECTS * ROWS))
    expected = [_text(number, row) for number in range(OBJECTS) for row in range(ROWS)]
    assert [row["output"]["text"] for row in rows] == expected
    # Its job, and no other, was made of the firing.
    made = [
        job.id for job in tm.jobs.list(kind="echo") if job.created_at and job.created_at >= starts
    ]
    assert made == [run.job]
    tm.schedules.delete(schedule.id)
