"""Redis is lost whole, or its last second, while jobs run: everything is back, and no row is lost or there twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.settings import Settings
from server.connect import Connections
from storage.keys import KeyRing
from tests.integration.recovery.conftest import WORKERS
from tests.integration.recovery.losses import LOSSES
from tests.integration.recovery.watching import Watch
from tests.integration.stack.commands import server_command, server_process
from tests.integration.stack.dialogue import (
    ended,
    failure,
    numbered,
    outcome,
    problem,
    submission,
    upload,
)
from tests.integration.stack.running import RunningStack, wait_for
from tests.integration.stack.traces import read_trace
from textmill import Job, Textmill

#: Seconds within which a lost ledger must have been built again.
BACK_SECONDS = 60.0

#: Most rows of a shard, as the stack is configured.
SHARD_ROWS = 500


# --- what was before -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Past:
    """What there was before anything was lost."""

    ended: tuple[Job, ...]
    deleted: Job
    other_key: str
    revoked_key: str
    documents: dict[str, Any]  #: what the API gave for each path

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self.documents)


def document(http: httpx.Client, path: str) -> Any:
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.headers["Content-Type"] == "application/json" else answer.text


@pytest.fixture(scope="module")
def past(stack: RunningStack, tm: Textmill, http: httpx.Client) -> Past:
    """Jobs that ended in every way, a deleted one, and keys."""
    done = tm.jobs.create(kind="echo", input=["a", "b", "c"], idempotency_key="done")
    failed = tm.jobs.create(
        kind="echo", input=["a", "b"], params={"fail_on": "b"}, max_errors=0, priority="high"
    )
    cancelled = tm.jobs.create(
        kind="echo", input=upload(tm, numbered(3000)), params={"delay_ms": 20}
    )
    deleted = tm.jobs.create(kind="echo", input=["a"], idempotency_key="deleted")
    retried = tm.jobs.create(kind="echo", input=["a", "b"], params={"fail_on": "b"}, name="twice")
    outcome(retried)
    retried = retried.retry()
    wait_for(lambda: cancelled.refresh().counts.completed, 60)
    cancelled.cancel()
    ended(deleted)
    tm.jobs.delete(deleted.id)
    jobs = tuple(ended(job) for job in (done, failed, cancelled, retried))
    assert [job.status for job in jobs] == ["completed", "failed", "cancelled", "completed"]
    assert retried.refresh().attempts == 2
    connections = Connections.open(Settings.from_environment(stack.embedded.environment()))
    keys = KeyRing(connections.store, connections.ledger)
    _, other_key = keys.create("default", "another")
    record, revoked_key = keys.create("default", "revoked")
    keys.revoke("default", record.id)
    paths = [f"/v1/jobs/{job.id}{rest}" for job in jobs for rest in ("", "/results", "/errors")]
    documents = {path: document(http, path) for path in paths}
    return Past(jobs, deleted, other_key, revoked_key, documents)


def check_past(past: Past, stack: RunningStack, http: httpx.Client) -> None:
    """Nothing of it has changed."""
    assert {path: document(http, path) for path in past.paths} == past.documents
    listed = {job["id"] for job in http.get("/v1/jobs?limit=100").json()["data"]}
    assert {job.id for job in past.ended} <= listed
    assert past.deleted.id not in listed
    problem(http.get(f"/v1/jobs/{past.deleted.id}"), 404, "not_found")
    for key, status in ((past.other_key, 200), (past.revoked_key, 401)):
        headers = {"Authorization": f"Bearer {key}"}
        assert http.get("/v1/jobs", headers=headers).status_code == status
    body = submission(input={"items": [{"text": text} for text in "abc"]})
    same = {"Idempotency-Key": "done"}
    again = http.post("/v1/jobs", json=body, headers=same)
    assert (again.status_code, again.json()["id"]) == (200, past.ended[0].id)
    problem(http.post("/v1/jobs", json=submission(), headers=same), 409, "conflict")
    gone = {"Idempotency-Key": "deleted"}
    problem(http.post("/v1/jobs", json=submission(), headers=gone), 409, "conflict")


# --- what runs meanwhile -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A job that is under way, and what must come of it."""

    job: Job
    rows: int
    bad: frozenset[int]  #: rows that end as errors
    trace: Path

    def check(self) -> None:
        """Every row is there once, with its own text."""
        results, errors = outcome(self.job)
        assert len(results) + len(errors) == self.rows
        assert {row["index"] for row in errors} == self.bad
        texts = {row["index"]: row["output"]["text"] for row in results}
        assert texts == {n: f"text number {n}" for n in range(self.rows) if n not in self.bad}

    @property
    def twice(self) -> int:
        """Rows computed more than once, each time counted."""
        computed = [row for one in read_trace(self.trace) for row in range(one.first, one.last + 1)]
        return len(computed) - len(set(computed))


def with_bad_rows(count: int) -> tuple[bytes, frozenset[int]]:
    """Numbered rows, of which one in 97 is no JSON."""
    bad = frozenset(range(0, count, 97))
    lines = numbered(count).splitlines(keepends=True)
    return b"".join(b"{oops\n" if n in bad else line for n, line in enumerate(lines)), bad


@pytest.fixture
def running(tm: Textmill, tmp_path: Path) -> list[Running]:
    """Three jobs: both workers compute for them, and the last is still being planned."""

    def start(name: str, data: bytes, bad: frozenset[int], **params: Any) -> Callable[[], Running]:
        trace, file = tmp_path / name, upload(tm, data)

        def submit() -> Running:
            job = tm.jobs.create(
                kind="echo", input=file, params={**params, "trace": str(trace)}, name=name
            )
            return Running(job, data.count(b"\n"), bad, trace)

        return submit

    data, bad = with_bad_rows(600)
    refused = frozenset(n for n in range(600) if "7" in str(n))
    small = start("small", data, bad | refused, delay_ms=16, fail_on="7")
    middle = start("middle", numbered(2000), frozenset(), delay_ms=5)
    large = start("large", numbered(60_000), frozenset())
    jobs = [small(), middle()]
    wait_for(lambda: all(one.job.refresh().counts.completed for one in jobs), 60)
    jobs.append(large())
    wait_for(lambda: jobs[-1].job.refresh().status == "in_progress", 60)
    return jobs


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_is_lost_with_redis(
    stack: RunningStack, http: httpx.Client, past: Past, running: list[Running], name: str
) -> None:
    *_, large = before = [one.job.refresh() for one in running]
    assert [job.status for job in before] == ["in_progress"] * 3
    assert large.counts.total is None, "too late: planning was over"
    begun = time.monotonic()
    with Watch(stack.client, *past.paths) as watch:
        LOSSES[name](stack)
        wait_for(lambda: http.get("/readyz").status_code == 200, BACK_SECONDS)
        back = time.monotonic() - begun
        check_past(past, stack, http)
        for one in running:
            one.check()
    assert set(watch.answers) <= {200, 503}, watch.answers
    assert watch.unexplained == 0
    twice, rows = sum(one.twice for one in running), sum(one.rows for one in running)
    print(
        f"\n{name}: ready after {back:.1f} s, {twice} of {rows} rows computed twice ({twice / rows:.2%}), "
        f"{watch.answers[503]} of {watch.answers.total()} answers 503"
    )
    # What was computed and not yet put away: at most what each worker had in hand, each time that it lost it.
    assert twice <= 3 * WORKERS * SHARD_ROWS
    stack.note_processes()


def test_a_job_tried_again_after_a_rebuild_has_its_limits_still(
    stack: RunningStack, tm: Textmill, http: httpx.Client, past: Past
) -> None:
    job = tm.jobs.create(kind="echo", input=["a", "b"], params={"fail_on": "b"}, max_errors=0)
    assert ended(job).status == "failed"
    LOSSES["flushed"](stack)
    wait_for(lambda: http.get(f"/v1/jobs/{job.id}").status_code == 200, BACK_SECONDS)
    assert failure(job.retry())["code"] == "too_many_errors"


# --- by hand -----------------------------------------------------------------------------------------


def rebuild(stack: RunningStack, *options: str) -> str:
    return server_command(stack, "rebuild", "--data-dir", str(stack.data_dir), *options).stdout


def test_a_whole_ledger_is_left_alone(stack: RunningStack, past: Past, http: httpx.Client) -> None:
    assert rebuild(stack) == "the ledger is whole; --force builds it again all the same\n"
    check_past(past, stack, http)


def test_a_whole_ledger_is_built_again_by_force(
    stack: RunningStack, tm: Textmill, past: Past, http: httpx.Client
) -> None:
    """The scheduler looks each second and may be quicker; then the command only waits."""
    job = tm.jobs.create(kind="echo", input=upload(tm, numbered(1000)), params={"delay_ms": 20})
    wait_for(lambda: job.refresh().counts.completed, 60)
    with stack.redis() as redis:
        before = redis.get("ledger:epoch")
        said = rebuild(stack, "--force")
        assert redis.get("ledger:epoch") not in (None, before)
    if "waiting" not in said:
        assert said.startswith("ledger rebuilt in ")
        assert " jobs completed\n" in said
    check_past(past, stack, http)
    assert len(outcome(job)[0]) == 1000


def test_while_it_is_built_nobody_is_told_that_there_is_nothing(
    stack: RunningStack, past: Past, http: httpx.Client
) -> None:
    with contextlib.ExitStack() as held:
        redis = held.enter_context(stack.redis())
        # As while somebody else builds a ledger of many jobs.
        redis.set("ledger:rebuild", "somebody", px=600_000)
        redis.delete("ledger:epoch")
        command = server_process(stack, "rebuild", "--data-dir", str(stack.data_dir))
        held.enter_context(command)
        held.callback(command.kill)
        for path in (*past.paths, "/v1/jobs", "/v1/jobs/job_00000000000000000000000000"):
            answer = http.get(path)
            problem(answer, 503, "unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        answer = http.post("/v1/jobs", json=submission(), headers={"Idempotency-Key": "early"})
        problem(answer, 503, "unavailable")
        answer = http.post(f"/v1/jobs/{past.ended[1].id}/retry")
        problem(answer, 503, "unavailable")
        assert command.stdout is not None
        assert "waiting for it" in command.stdout.readline()
        redis.delete("ledger:rebuild")
        said, _ = command.communicate(timeout=BACK_SECONDS)
    assert (command.returncode, said) == (0, "the ledger is whole\n")
    wait_for(lambda: http.get("/readyz").status_code == 200, BACK_SECONDS)
    check_past(past, stack, http)
    answer = http.post("/v1/jobs", json=submission(), headers={"Idempotency-Key": "early"})
    assert answer.status_code == 201, "a refused submission had left something behind"
