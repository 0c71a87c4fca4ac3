"""A thousand who wait: each is answered soon after the change, and they cost little."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from tests.integration.conftest import Services
from tests.integration.serving.serving import RunningApi, status_of

WAITERS = 1_000
JOBS = 10
#: What the goal allows for all of the API's processes.
MEMORY_BYTES = 300 << 20


@contextmanager
def waiting(api: RunningApi, jobs: list[str]) -> Iterator[list[socket.socket]]:
    """So many long polls, all of which the API has taken in."""
    connections = []
    try:
        for number in range(WAITERS):
            connection = api.connect()
            connection.sendall(api.head(f"GET /v1/jobs/{jobs[number % len(jobs)]}?wait=30"))
            connections.append(connection)
        give_up = time.monotonic() + 20
        while api.waiting() < WAITERS:
            assert time.monotonic() < give_up, api.waiting()
            time.sleep(0.2)
        yield connections
    finally:
        for connection in connections:
            connection.close()


def answered_within(connections: list[socket.socket], change: Callable[[], None]) -> list[float]:
    """Seconds from the change until each connection is answered."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        begun = time.monotonic()
        change()
        seconds: list[float] = []
        answers: dict[int, bytes] = {}
        while len(seconds) < len(connections):
            ready = selector.select(timeout=20)
            assert ready, f"{len(connections) - len(seconds)} were never answered"
            for key, _ in ready:
                answers[key.fd] = answers.get(key.fd, b"") + key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                if not answers[key.fd].endswith(b"}"):
                    continue
                assert status_of(answers[key.fd]) == 200
                assert b'"cancelling"' in answers[key.fd]
                selector.unregister(key.fileobj)
                seconds.append(time.monotonic() - begun)
    return seconds


@pytest.mark.parametrize("jobs", [1, JOBS])
def test_a_thousand_long_polls_are_answered_within_a_second(api: RunningApi, jobs: int) -> None:
    slowest = float("inf")
    # A machine that does much else may need another try.
    for _ in range(3):
        ids = [api.enter() for _ in range(jobs)]
        with waiting(api, ids) as connections:
            memory, calls = api.memory(), _calls(api)
            change = partial(_cancel, api, ids)
            slowest = min(slowest, max(answered_within(connections, change)))
            reads = _calls(api) - calls
        assert memory < MEMORY_BYTES
        # Not one read for each who waits.
        assert reads < WAITERS / 4
        if slowest < 1.0:
            break
    print(f"{jobs} jobs: last answer after {slowest:.3f} s, {memory >> 20} MiB, {reads} reads")
    assert slowest < 1.0


def _cancel(api: RunningApi, ids: list[str]) -> None:
    for job_id in ids:
        api.ledger.jobs.cancel(job_id)


def _calls(api: RunningApi) -> int:
    stats = api.ledger.client.redis.info("commandstats")
    return int(stats.get("cmdstat_hgetall", {}).get("calls", 0))


def test_a_hint_that_is_lost_costs_seconds_and_no_more(api: RunningApi) -> None:
    job_id = api.enter()
    redis = api.ledger.client.redis
    with api.http() as http:
        etag = http.get(f"/v1/jobs/{job_id}").headers["ETag"]
        with api.connect() as connection:
            connection.sendall(
                api.head(f"GET /v1/jobs/{job_id}?wait=30", [f"If-None-Match: {etag}"])
            )
            time.sleep(0.5)
            redis.hset(f"job:{job_id}", "waiting", "something")
            redis.hincrby(f"job:{job_id}", "version", 1)  # and nothing is published
            begun = time.monotonic()
            assert status_of(connection.recv(1 << 16)) == 200
            assert time.monotonic() - begun < 10


def test_the_subscription_comes_back_after_redis(api: RunningApi, services: Services) -> None:
    with api.http() as http:
        assert http.get(f"/v1/jobs/{api.enter()}?wait=1").status_code == 200
        services.restart("valkey")
        give_up = time.monotonic() + 30
        while http.get("/v1/jobs").status_code != 200:
            assert time.monotonic() < give_up
            time.sleep(0.2)
        # Once it listens again it hears at once.
        quickest = 10.0
        while quickest > 0.5:
            assert time.monotonic() < give_up, quickest
            job_id = api.enter()
            with api.connect() as connection:
                connection.sendall(api.head(f"GET /v1/jobs/{job_id}?wait=30"))
                time.sleep(0.3)
                begun = time.monotonic()
                api.ledger.jobs.cancel(job_id)
                assert status_of(connection.recv(1 << 16)) == 200
                quickest = min(quickest, time.monotonic() - begun)
