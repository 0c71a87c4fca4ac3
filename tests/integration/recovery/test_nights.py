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
from typing import Any, Self

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
DELAY_MS = 20

#: Generous: a busy machine may take long for what is done in a few seconds.
SECONDS = 180.0

#: Life of a scheduler at first, and how often each dies. What it looked at when it died waits for half a minute.
LIFE_SECONDS, DEATHS = 2.5, 4


class Corpus:
    """Some objects with rows, and what jobs wrote beside them."""

    def __init__(self, s3: Minio) -> None:
        self._s3 = s3
        if not s3.bucket_exists(BUCKET):
            s3.make_bucket(BUCKET)
        self._folder = f"{secrets.token_hex(6)}/"
        self.uri, self.output = (f"s3://{BUCKET}/{self._folder}{name}/" for name in ("in", "out"))

    def lay(self, night: int) -> list[dict[str, str]]:
        """The rows of a night, put into the store: every other one says something new."""
        rows = [
            [self._row(number, row, night * (row % 2)) for row in range(ROWS)]
            for number in range(OBJECTS)
        ]
        for number, some in enumerate(rows):
            data = b"".join(orjson.dumps(row) + b"\n" for row in some)
            name = f"{self._folder}in/{number:03d}.jsonl"
            self._s3.put_object(BUCKET, name, io.BytesIO(data), len(data))
        return [row for some in rows for row in some]

    @staticmethod
    def _row(number: int, row: int, night: int) -> dict[str, str]:
        return {"custom_id": f"{number}-{row}", "text": f"{row} of {number}, night {night}"}

    def written(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What the newest night wrote: its record, and its rows."""
        latest = orjson.loads(self._get(f"{self._folder}out/_latest.json"))
        folder = str(latest["folder"]).removeprefix(f"s3://{BUCKET}/")
        assert orjson.loads(self._get(f"{folder}_SUCCESS")) == latest
        parts = self._s3.list_objects(BUCKET, prefix=f"{folder}part-")
        names = [str(one.object_name) for one in parts]
        lines = b"".join(self._get(name) for name in names).splitlines()
        return latest, [orjson.loads(line) for line in lines]

    def _get(self, name: str) -> bytes:
        answer = self._s3.get_object(BUCKET, name)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()


@pytest.fixture
def corpus(stack: RunningStack) -> Iterator[Corpus]:
    """A corpus of this test alone."""
    with urllib3.PoolManager() as pool:
        yield Corpus(stack.minio(pool))


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
        # As `up` tells its own.
        allowed = {"TEXTMILL_S3_ALLOWED_PREFIXES": f"s3://{BUCKET}/"}
        own = {**self._stack.embedded.environment(), **allowed}
        self._other = server_process(self._stack, "scheduler", env=own)

    def _end(self) -> None:
        if self._other is not None:
            self._other.kill()
            self._other.communicate()


def _progress(tm: Textmill, schedule: Schedule, since: datetime) -> list[tuple[str, int]]:
    """Status of each run that fired since a moment, and how many rows its job has done; none while only the decision
    to submit it is made."""
    found = []
    for run in tm.schedules.runs(schedule.id):
        if run.fire_at is None or run.fire_at < since:
            continue
        done = 0
        if run.job is not None:
            with suppress(NotFound):
                done = tm.jobs.get(run.job).counts.completed
        found.append((run.status, done))
    return found


def test_a_night_of_deaths_ends_once_and_complete(
    stack: RunningStack, tm: Textmill, corpus: Corpus
) -> None:
    schedule = tm.schedules.create(
        job={
            "kind": "echo",
            "params": {"delay_ms": DELAY_MS},
            "input": {"uri": corpus.uri},
            "output": {"uri": corpus.output},
        },
        cron="0 0 1 1 *",
        incremental=True,
    )
    corpus.lay(0)
    first = tm.schedules.wait(tm.schedules.trigger(schedule.id), timeout=SECONDS)
    assert first.status == "completed"
    rows = corpus.lay(1)
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5)
    tm.schedules.change(
        schedule.id,
        cron=None,
        every=60,
        starts_at=starts.isoformat(),
        ends_at=(starts + timedelta(seconds=30)).isoformat(),
    )
    with _Schedulers(stack) as schedulers:
        wait_for(lambda: any(done > 0 for _, done in _progress(tm, schedule, starts)), SECONDS)
        worker = stack.process("worker")
        assert worker is not None
        for victim in [*pool_children(worker), worker]:
            victim.kill()
        half = len(rows) // 2
        wait_for(lambda: any(done > half for _, done in _progress(tm, schedule, starts)), SECONDS)
        come_back_empty(stack)
        time.sleep(6)
    assert schedulers.killed >= 4

    def ended() -> bool:
        return [status for status, _ in _progress(tm, schedule, starts)] == ["completed"]

    wait_for(ended, SECONDS)
    run, other = tm.schedules.runs(schedule.id)
    assert (other.id, run.manual) == (first.id, False)
    assert run.job is not None
    assert run.corpus is not None
    assert (run.corpus.computed, run.corpus.changed) == (half, half)
    assert (run.corpus.carried, run.corpus.base) == (half, first.job)
    results = list(tm.jobs.get(run.job).results())
    assert [row["index"] for row in results] == list(range(len(rows)))
    assert [row["custom_id"] for row in results] == [row["custom_id"] for row in rows]
    assert [row["output"]["text"] for row in results] == [row["text"] for row in rows]
    # The same lies there for readers, once.
    latest, written = corpus.written()
    assert (latest["job"], written) == (run.job, results)
    # Its job, and no other, was made of the firing.
    made = [
        job.id for job in tm.jobs.list(kind="echo") if job.created_at and job.created_at >= starts
    ]
    assert made == [run.job]
    tm.schedules.delete(schedule.id)
