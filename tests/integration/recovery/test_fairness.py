"""A small job does not wait behind a large one, and what a job's window cut off can be done later."""

from __future__ import annotations

import time
from pathlib import Path

from tests.integration.recovery.conftest import WORKERS
from tests.integration.stack.dialogue import ended, numbered, outcome, upload
from tests.integration.stack.running import RunningStack, wait_for
from tests.integration.stack.traces import read_trace
from textmill import Textmill

#: Rows of the large job; a shard of them takes 10 s.
LARGE, DELAY_MS = 200_000, 20

#: Seconds within which a job must begin while every worker is busy.
START_SECONDS = 5.0


def test_a_job_of_ten_rows_starts_at_once_behind_a_large_one(tm: Textmill, tmp_path: Path) -> None:
    busy, first = tmp_path / "large", tmp_path / "small"
    large = tm.jobs.create(
        kind="echo",
        input=upload(tm, numbered(LARGE)),
        params={"delay_ms": DELAY_MS, "trace": str(busy)},
    )
    try:
        wait_for(lambda: len({one.pid for one in read_trace(busy)}) == WORKERS, 60)
        submitted = time.monotonic()
        small = tm.jobs.create(kind="echo", input=["a"] * 10, params={"trace": str(first)})
        assert len(outcome(small)[0]) == 10
        waited = next(read_trace(first)).at - submitted
        print(f"\nbegan after {waited:.2f} s, ended after {time.monotonic() - submitted:.2f} s")
        assert waited < START_SECONDS
        assert not large.refresh().ended
    finally:
        large.cancel()
    assert ended(large).status == "cancelled"


def test_what_a_window_cut_off_can_be_done_later(stack: RunningStack, tm: Textmill) -> None:
    rows = 2000
    file = upload(tm, numbered(rows), "window.jsonl")
    job = tm.jobs.create(
        kind="echo", input=file, params={"delay_ms": 10}, completion_window="1m", name="window"
    )
    wait_for(lambda: job.refresh().counts.completed, 60)
    with stack.redis() as redis:
        assert redis.hexists(f"job:{job.id}", "expires_at")
        redis.hset(f"job:{job.id}", "expires_at", 1)
    job = ended(job)
    assert job.status == "expired"
    kept, cut = list(job.results()), list(job.errors())
    assert kept
    assert cut
    assert sorted(row["index"] for row in kept + cut) == list(range(rows))
    assert all(row["output"] == {"text": f"text number {row['index']}"} for row in kept)
    for row in cut:
        assert row["custom_id"] == f"r{row['index']}"
        assert row["error"]["code"] == "expired"
        assert (row["source"], row["line"]) == ("window.jsonl", row["index"] + 1)
    assert (job.counts.completed, job.counts.failed) == (len(kept), len(cut))
    again = job.retry()
    results, errors = outcome(again)
    assert errors == []
    assert [row["output"]["text"] for row in results] == [f"text number {n}" for n in range(rows)]
    assert again.refresh().attempts == 2
