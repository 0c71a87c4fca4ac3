"""Rows and models that kill whoever touches them: they cost a few deaths, and nobody else notices."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.recovery.conftest import LEASE_SECONDS
from tests.integration.stack.dialogue import failure, jsonl, outcome, upload
from tests.integration.stack.running import RunningStack, wait_for
from tests.integration.stack.traces import read_trace
from textmill import Job, Textmill

ROWS = 600

#: One death finds the rows in hand, at most two more the guilty one among them, and three it has to itself.
MOST_DEATHS = 6

#: A machine that does several things at once is slow to notice a death; this is what none of them should take.
POISON_SECONDS = 240.0


@dataclass(frozen=True)
class Poisoned:
    """A job with rows that nobody survives."""

    job: Job
    begun: float  #: monotonic clock
    rows: frozenset[int]  #: the poisonous ones
    trace: Path

    @property
    def deaths(self) -> dict[int, int]:
        """How many processes each poisonous row cost."""
        met = [one.first for one in read_trace(self.trace) if one.first == one.last]
        return {row: met.count(row) for row in sorted(self.rows)}

    def check(self, source: str) -> None:
        """Exactly these rows are errors, and say where they stand in the input."""
        wait_for(lambda: self.job.refresh().ended, POISON_SECONDS)
        seconds = time.monotonic() - self.begun
        results, errors = outcome(self.job)
        assert {row["index"] for row in errors} == self.rows
        for row in errors:
            assert row["custom_id"] == f"r{row['index']}"
            assert row["error"]["code"] == "worker_lost"
            assert (row["source"], row["line"]) == (source, row["index"] + 1)
        assert len(results) == ROWS - len(errors)
        assert all(row["output"]["text"] == f"text number {row['index']}" for row in results)
        print(f"\n{source}: deaths {self.deaths}, {seconds:.1f} s")
        assert all(3 <= deaths <= MOST_DEATHS for deaths in self.deaths.values())


def poisoned(
    tm: Textmill, folder: Path, how: str, rows: frozenset[int], kind: str = "echo"
) -> Poisoned:
    lines = [
        {"custom_id": f"r{n}", "text": f"text number {n}{' poison' * (n in rows)}"}
        for n in range(ROWS)
    ]
    name = f"{how}-{len(rows)}.jsonl"
    trace = folder / name
    begun = time.monotonic()
    job = tm.jobs.create(
        kind=kind,
        input=upload(tm, jsonl(lines), name),
        params={f"{how}_on": "poison", "delay_ms": 1, "trace": str(trace)},
    )
    return Poisoned(job, begun, rows, trace)


@pytest.mark.parametrize("kind", ["echo", "eager"])
def test_one_row_that_kills(stack: RunningStack, tm: Textmill, tmp_path: Path, kind: str) -> None:
    one = poisoned(tm, tmp_path, "die", frozenset({123}), kind)
    one.check("die-1.jsonl")
    print(f"leases of {LEASE_SECONDS} s")
    stack.note_processes()


@pytest.mark.timeout(2 * POISON_SECONDS)
def test_all_sorts_of_poison_at_once(stack: RunningStack, tm: Textmill, tmp_path: Path) -> None:
    """Three rows of one shard, one row that hangs with the global lock, one without; beside them a job that is well."""
    jobs = [
        poisoned(tm, tmp_path, "die", frozenset({41, 42, 90})),
        poisoned(tm, tmp_path, "hang", frozenset({300})),
        poisoned(tm, tmp_path, "stall", frozenset({599})),
    ]
    healthy = tm.jobs.create(kind="echo", input=["a"] * 100)
    assert len(outcome(healthy)[0]) == 100
    for one in jobs:
        one.check(one.trace.name)
    stack.note_processes()


def test_a_kind_that_dies_while_it_makes_ready_fails_its_job(
    stack: RunningStack, tm: Textmill
) -> None:
    begun = time.monotonic()
    deadly = tm.jobs.create(kind="echo", input=["a"] * 100, params={"die_preparing": True})
    for _ in range(3):
        other = tm.jobs.create(kind="echo", input=["a"] * 100)
        assert len(outcome(other)[0]) == 100
    error = failure(deadly)
    assert error["code"] == "worker_lost"
    assert "made ready" in error["message"]
    print(f"\nfailed after {time.monotonic() - begun:.1f} s: {error['message']}")
    stack.note_processes()
