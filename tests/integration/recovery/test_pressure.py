"""Redis or the store is full or dead: nothing new is taken in and nothing half made; what runs waits and goes on."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from typing import cast

import httpx
import pytest
import redis

from tests.integration.recovery.conftest import SILENCE_SECONDS
from tests.integration.recovery.disks import full_disk
from tests.integration.stack.dialogue import ended, numbered, outcome, problem, submission, upload
from tests.integration.stack.running import RunningStack, wait_for
from textmill import Job, Textmill

ROWS = 3000

#: Longest time for the answer that the store is away, in seconds.
ANSWER_SECONDS = SILENCE_SECONDS + 5.0

#: Within which the stack must take jobs in again.
BACK_SECONDS = 60.0


@pytest.fixture
def failed(tm: Textmill) -> Job:
    """An ended job that can be tried again."""
    job = tm.jobs.create(kind="echo", input=["a", "b"], params={"fail_on": "b"})
    assert len(outcome(job)[1]) == 1
    return job


@pytest.fixture
def running(tm: Textmill) -> Job:
    """A job of some seconds, some of it done."""
    job = tm.jobs.create(kind="echo", input=upload(tm, numbered(ROWS)), params={"delay_ms": 5})
    wait_for(lambda: job.refresh().counts.completed, 60)
    assert not job.ended
    return job


def check(job: Job) -> None:
    results, errors = outcome(job)
    assert errors == []
    assert [row["output"]["text"] for row in results] == [f"text number {n}" for n in range(ROWS)]


class Refusals:
    """Calls that are refused, and prove afterwards that they left nothing behind."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._key = {"Idempotency-Key": secrets.token_hex(8)}
        self.slowest = 0.0  #: seconds

    def submit(self) -> None:
        self._refused(lambda: self._http.post("/v1/jobs", json=submission(), headers=self._key))

    def retry(self, job: Job) -> None:
        self._refused(lambda: self._http.post(f"/v1/jobs/{job.id}/retry"))

    def upload(self, size: int = 100) -> None:
        row = b'{"text": "a"}\n'
        data = row * -(-size // len(row))
        self._refused(lambda: self._http.post("/v1/files?filename=a.jsonl", content=data))

    def _refused(self, call: Callable[[], httpx.Response]) -> None:
        begun = time.monotonic()
        answer = call()
        self.slowest = max(self.slowest, time.monotonic() - begun)
        problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0

    def check_nothing_was_made(self) -> None:
        """The very submission that was refused is a new one now, and only one."""
        answers: list[httpx.Response] = []

        def taken() -> bool:
            answers.append(self._http.post("/v1/jobs", json=submission(), headers=self._key))
            return answers[-1].status_code != 503

        wait_for(taken, BACK_SECONDS)
        assert answers[-1].status_code == 201, answers[-1].text
        again = self._http.post("/v1/jobs", json=submission(), headers=self._key)
        assert (again.status_code, again.json()["id"]) == (200, answers[-1].json()["id"])


@pytest.fixture
def refusals(http: httpx.Client) -> Refusals:
    return Refusals(http)


def tried_again(job: Job) -> None:
    """A job that could not be tried again before, and now can: for the first time."""
    job = job.refresh()
    assert (job.attempts, job.status) == (1, "completed")
    assert ended(job.retry()).attempts == 2


# --- Redis -------------------------------------------------------------------------------------------


#: Bytes of junk beside the ledger, so that a few percent of the memory are room to work in.
JUNK = 32 << 20


@contextlib.contextmanager
def memory(stack: RunningStack, share: float) -> Iterator[None]:
    """Let Redis be full to this share of its limit."""
    with stack.redis() as client:
        client.setrange("junk", JUNK, b"x")
        limit = client.config_get("maxmemory")["maxmemory"]
        used = cast("dict[str, int]", client.info("memory"))["used_memory"]
        client.config_set("maxmemory", int(used / share))
        try:
            yield
        finally:
            client.config_set("maxmemory", limit)
            client.delete("junk")


def test_nothing_is_taken_in_while_redis_is_nearly_full(
    stack: RunningStack, running: Job, failed: Job, refusals: Refusals, http: httpx.Client
) -> None:
    with memory(stack, 0.92):
        time.sleep(1.1)  # a measurement is believed for a second
        refusals.submit()
        refusals.retry(failed)
        for path in (f"/v1/jobs/{failed.id}", f"/v1/jobs/{failed.id}/results", "/v1/jobs"):
            assert http.get(path).status_code == 200
        check(running)
    refusals.check_nothing_was_made()
    tried_again(failed)


def test_workers_wait_while_redis_is_full(
    stack: RunningStack, running: Job, failed: Job, refusals: Refusals, http: httpx.Client
) -> None:
    workers = stack.processes("worker")
    with memory(stack, 2.0):
        time.sleep(1.1)
        refusals.submit()
        refusals.retry(failed)
        assert http.get(f"/v1/jobs/{failed.id}/results").status_code == 200
        time.sleep(4)
        assert not running.refresh().ended
    check(running)
    assert stack.processes("worker") == workers, "they ended instead of waiting"
    refusals.check_nothing_was_made()
    tried_again(failed)


def test_redis_has_no_room_on_its_disk(
    stack: RunningStack, running: Job, failed: Job, refusals: Refusals, http: httpx.Client
) -> None:
    if not stack.within:
        pytest.skip("this machine lets nobody mount a small disk")
    with full_disk(stack, "valkey"), stack.redis() as client:
        wait_for(lambda: not _takes_writes(client), 30)
        refusals.submit()
        refusals.retry(failed)
        assert http.get(f"/v1/jobs/{failed.id}").status_code == 200
        time.sleep(2)
    check(running)
    refusals.check_nothing_was_made()
    tried_again(failed)


def _takes_writes(client: redis.Redis) -> bool:
    try:
        client.set("probe:disk", "x" * 10_000, px=1)
    except redis.ResponseError:
        return False
    return True


# --- the store ---------------------------------------------------------------------------------------


def test_the_store_hangs(
    stack: RunningStack, running: Job, failed: Job, refusals: Refusals, http: httpx.Client
) -> None:
    store = stack.process("seaweedfs")
    assert store is not None
    store.suspend()
    try:
        refusals.submit()
        refusals.upload()
        refusals.retry(failed)
        assert http.get(f"/v1/jobs/{running.id}").status_code == 200
        assert not running.refresh().ended
    finally:
        store.resume()
    print(f"\nslowest answer while the store hung: {refusals.slowest:.1f} s")
    assert refusals.slowest < ANSWER_SECONDS
    check(running)
    wait_for(lambda: http.get("/readyz").status_code == 200, BACK_SECONDS)


def test_the_store_is_dead(
    stack: RunningStack, running: Job, failed: Job, refusals: Refusals, http: httpx.Client
) -> None:
    store = stack.process("seaweedfs")
    assert store is not None
    with stack.held():
        store.kill()
        refusals.submit()
        refusals.upload()
        refusals.retry(failed)
        assert http.get(f"/v1/jobs/{running.id}").status_code == 200
        assert not running.refresh().ended
    print(f"\nslowest answer while the store was dead: {refusals.slowest:.1f} s")
    assert refusals.slowest < ANSWER_SECONDS
    check(running)
    refusals.check_nothing_was_made()
    tried_again(failed)
    stack.note_processes()


def test_the_store_has_no_room_on_its_disk(
    stack: RunningStack, tm: Textmill, running: Job, refusals: Refusals, http: httpx.Client
) -> None:
    if not stack.within:
        pytest.skip("this machine lets nobody mount a small disk")
    with full_disk(stack, "seaweedfs"):
        refusals.upload(24 << 20)  # more than the store has put by
        wait_for(lambda: http.get("/readyz").status_code == 503, 30)
        assert http.get(f"/v1/jobs/{running.id}").status_code == 200
        time.sleep(2)
        assert not running.refresh().ended
    check(running)
    wait_for(lambda: http.get("/readyz").status_code == 200, BACK_SECONDS)
    assert tm.files.get(upload(tm, numbered(200_000))).bytes > 5 << 20
