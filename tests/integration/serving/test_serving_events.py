"""Followers are told each thing once, in order, whatever breaks in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.record import JobRecord
from jobs.rows import Usage
from jobs.states import Status
from tests.integration.serving.serving import TENANT, RunningApi


@dataclass(frozen=True)
class Event:
    id: str
    event: str
    data: dict[str, Any]

    @property
    def told(self) -> tuple[str, str]:
        return self.event, self.data["status"]


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events, by the rules of the HTML standard as far as they are used here."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}


def read(http: httpx.Client, job_id: str, after: str = "", query: str = "") -> list[Event]:
    """All events until the stream ends."""
    headers = {"Last-Event-ID": after} if after else {}
    with http.stream("GET", f"/v1/jobs/{job_id}/events{query}", headers=headers) as reply:
        assert reply.status_code == 200
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        return list(parse(reply.iter_lines()))


@pytest.fixture(scope="module")
def http(api: RunningApi) -> Iterator[httpx.Client]:
    with api.http() as client:
        yield client


def work(api: RunningApi, job_id: str) -> None:
    """Plan and compute two ranges, the second with an error; the job is ready to be ended."""
    planner, ranges = new_token(), api.ledger.ranges
    for start in (0, 10):
        api.add(job_id, planner, RowRange(start, start + 10))
    for failed in (0, 1):
        token = new_token()
        claim = ranges.claim(job_id, token)
        assert claim is not None
        ranges.commit(
            job_id,
            claim.rows,
            token,
            done=claim.rows,
            results=10 - failed,
            errors=failed,
            usage=Usage(),
            device_ms=1,
            size=1,
        )
    ranges.seal(job_id, planner, 20, "[]")


def finish(api: RunningApi, job_id: str, status: Status) -> None:
    record = api.ledger.jobs.get(TENANT, job_id)
    fields = {**record.to_json(), "status": status.value, "ended_at": record.now}
    assert api.ledger.jobs.finish(JobRecord.from_json(fields))


def test_a_job_is_told_from_its_submission_to_its_end(api: RunningApi, http: httpx.Client) -> None:
    job_id = api.enter()
    work(api, job_id)
    finish(api, job_id, Status.COMPLETED)
    events = read(http, job_id)
    assert [one.told for one in events] == [
        ("status", "validating"),
        ("status", "in_progress"),
        ("progress", "in_progress"),
        ("progress", "in_progress"),
        ("status", "finalizing"),
        ("status", "completed"),
    ]
    assert events[-1].data["request_counts"] == {"total": 20, "completed": 19, "failed": 1}
    assert len({one.id for one in events}) == len(events)
    # From each event on comes what is behind it, nothing twice and nothing left out.
    for number, seen in enumerate(events[:-1]):
        assert read(http, job_id, seen.id) == events[number + 1 :]
    last = http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": events[-1].id})
    assert last.status_code == 204


def test_a_follower_is_told_as_it_happens_and_the_stream_ends_with_the_job(
    api: RunningApi, http: httpx.Client
) -> None:
    job_id = api.enter()
    with http.stream("GET", f"/v1/jobs/{job_id}/events") as reply:
        events = parse(reply.iter_lines())
        assert next(events).told == ("status", "validating")
        api.ledger.jobs.fail(job_id, {"code": "empty_input", "message": "no rows"})
        failing = next(events)
        assert failing.told == ("status", "finalizing")
        assert failing.data["error"]["code"] == "empty_input"
        finish(api, job_id, Status.FAILED)
        assert [one.told for one in events] == [("status", "failed")]


def test_trainings_tell_their_metrics(api: RunningApi, http: httpx.Client) -> None:
    job_id = api.enter()
    api.add(job_id, new_token(), RowRange(0, 1))
    token = new_token()
    claim = api.ledger.ranges.claim(job_id, token)
    assert claim is not None
    block = {
        "step": 7,
        "loss": 0.25,
        "learning_rate": 1e-4,
        "tokens_per_second": 812.5,
        "eta_seconds": 3.0,
    }
    api.ledger.training.show(job_id, claim.rows, token, {**block, "curve": [[1, 2.0]]})
    told = read(http, job_id, query="?follow=false")[-1]
    assert told.event == "training"
    assert told.data["training"] == block


def test_without_following_the_stream_ends_at_once(api: RunningApi, http: httpx.Client) -> None:
    job_id = api.enter()
    assert [one.told for one in read(http, job_id, query="?follow=false")] == [
        ("status", "validating")
    ]


@pytest.mark.parametrize("after", ["", "1-1", "9999999999999-0"])
def test_what_is_no_longer_kept_is_replaced_by_the_present(
    api: RunningApi, http: httpx.Client, after: str
) -> None:
    job_id = api.enter()
    work(api, job_id)
    redis = api.ledger.client.redis
    redis.xtrim(f"job:{job_id}:events", maxlen=1, approximate=False)
    first, *rest = read(http, job_id, after, "?follow=false")
    assert (first.told, rest) == (("status", "finalizing"), [])
    assert read(http, job_id, first.id, "?follow=false") == []
    redis.delete(f"job:{job_id}:events")  # as after the loss of Redis
    assert read(http, job_id, first.id, "?follow=false")[0].told == ("status", "finalizing")
    finish(api, job_id, Status.COMPLETED)
    redis.delete(f"job:{job_id}:events")
    (end,) = read(http, job_id, first.id)
    assert end.told == ("status", "completed")
    again = http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": end.id})
    assert again.status_code == 204


def test_a_retried_job_goes_on_in_the_same_stream(api: RunningApi, http: httpx.Client) -> None:
    job_id = api.enter()
    work(api, job_id)
    finish(api, job_id, Status.COMPLETED)
    redis = api.ledger.client.redis
    assert 0 < redis.pttl(f"job:{job_id}:events") <= 600_000
    last = read(http, job_id)[-1]
    api.ledger.jobs.retry(job_id, 2, 19, None)
    assert redis.pttl(f"job:{job_id}:events") == -1
    (again,) = read(http, job_id, last.id, "?follow=false")
    assert (again.told, again.data["attempts"]) == (("status", "validating"), 2)


def test_a_stream_is_of_bounded_length_and_goes_with_its_job(api: RunningApi) -> None:
    job_id = api.enter()
    for number in range(1_500):
        api.ledger.ranges.defer(job_id, f"reason {number}")
    redis = api.ledger.client.redis
    assert redis.xlen(f"job:{job_id}:events") < 1_200
    api.ledger.jobs.cancel(job_id)
    finish(api, job_id, Status.CANCELLED)
    api.ledger.jobs.forget(job_id)
    assert redis.keys(f"*{job_id}*") == []


@pytest.mark.parametrize(
    ("job_id", "after", "status"),
    [
        ("job_01k5b3w7m3v9q8z2c4x6t1n0ra", "", 404),
        ("nonsense", "", 404),
        (None, "x", 422),
        (None, "1-1\t2", 422),
    ],
)
def test_what_cannot_be_followed_is_refused(
    api: RunningApi, http: httpx.Client, job_id: str | None, after: str, status: int
) -> None:
    headers = {"Last-Event-ID": after} if after else {}
    path = f"/v1/jobs/{job_id or api.enter()}/events"
    assert http.get(path, headers=headers).status_code == status
