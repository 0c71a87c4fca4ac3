"""A key that is revoked while calls with it wait: what happens from then on is not told to them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from storage.keys import ApiKey, KeyRing
from storage.objects import ObjectStore
from tests.integration.serving.serving import TENANT, RunningApi
from tests.integration.serving.test_serving_events import parse
from tests.integration.stack.running import wait_for


@pytest.fixture
def ring(api: RunningApi) -> KeyRing:
    return KeyRing(ObjectStore.connect(api.settings), api.ledger)


@pytest.fixture
def key(api: RunningApi, ring: KeyRing) -> tuple[ApiKey, str]:
    return ring.create(TENANT, "soon revoked")


@pytest.fixture
def http(api: RunningApi, key: tuple[ApiKey, str]) -> Iterator[httpx.Client]:
    with api.http() as client:
        client.headers["Authorization"] = f"Bearer {key[1]}"
        yield client


def test_a_stream_of_events_ends(
    api: RunningApi, ring: KeyRing, key: tuple[ApiKey, str], http: httpx.Client
) -> None:
    job_id = api.enter()
    with http.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
        events = parse(reply.iter_lines())
        assert next(events).told == ("status", "validating")
        ring.revoke(TENANT, key[0].id)
        api.ledger.jobs.fail(job_id, {"code": "empty_input", "message": "no rows"})
        assert list(events) == []
    assert http.get(f"/v1/jobs/{job_id}/events").status_code == 401


@pytest.mark.parametrize("revoked", [False, True])
def test_a_call_that_waits_for_a_job(
    api: RunningApi, ring: KeyRing, key: tuple[ApiKey, str], http: httpx.Client, revoked: bool
) -> None:
    job_id = api.enter()
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(http.get, f"/v1/jobs/{job_id}?wait=30")
        wait_for(lambda: api.waiting() > 0, 20)
        if revoked:
            ring.revoke(TENANT, key[0].id)
        api.ledger.jobs.fail(job_id, {"code": "empty_input", "message": "no rows"})
        assert answer.result().status_code == (401 if revoked else 200)
