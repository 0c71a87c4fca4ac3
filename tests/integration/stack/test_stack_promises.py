"""Promises about submitting and cancelling: once is once, and what is done stays."""

from __future__ import annotations

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.integration.stack.dialogue import ended, numbered, problem, submission, upload
from tests.integration.stack.running import wait_for
from textmill import Textmill


def test_the_same_key_gives_the_same_job(http: httpx.Client) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    first = http.post("/v1/jobs", json=submission(), headers=key)
    assert first.status_code == 201
    assert first.headers["Location"] == f"/v1/jobs/{first.json()['id']}"
    for body in (submission(), submission(priority="normal", params={})):
        again = http.post("/v1/jobs", json=body, headers=key)
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = http.post("/v1/jobs", json=submission(priority="high"), headers=key)
    problem(other, 409, "conflict")
    assert http.post("/v1/jobs", json=submission()).json()["id"] != first.json()["id"]


def test_twenty_at_once_with_one_key_make_one_job(http: httpx.Client) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    body = submission(name=key["Idempotency-Key"])

    def submit(_number: int) -> httpx.Response:
        return http.post("/v1/jobs", json=body, headers=key)

    with ThreadPoolExecutor(20) as threads:
        replies = list(threads.map(submit, range(20)))
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert sorted(reply.status_code for reply in replies) == [200] * 19 + [201]
    found = http.get("/v1/jobs", params={"name": key["Idempotency-Key"]}).json()["data"]
    assert len(found) == 1


def test_a_key_that_no_header_may_hold_is_refused(http: httpx.Client) -> None:
    for key in (b"", b"two words", b"k" * 256, b"tab\there", b"\xff"):
        headers = {b"Content-Type": b"application/json", b"Idempotency-Key": key}
        reply = http.post("/v1/jobs", content=json.dumps(submission()), headers=headers)
        problem(reply, 422, "invalid_request", "header:Idempotency-Key")


def test_a_running_job_is_cancelled_within_seconds_and_keeps_what_is_done(
    tm: Textmill, http: httpx.Client
) -> None:
    job = tm.jobs.create(kind="echo", input=upload(tm, numbered(3000)), params={"delay_ms": 2})
    wait_for(lambda: job.refresh().counts.completed, 30)
    begun = time.monotonic()
    path = f"/v1/jobs/{job.id}"
    replies = [http.post(f"{path}/cancel") for _ in range(2)]
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.json()["status"] for reply in replies} <= {"cancelling", "cancelled"}
    job = ended(job)
    assert time.monotonic() - begun < 10
    assert (job.status, job.raw["error"]) == ("cancelled", None)
    rows = list(job.results())
    assert 0 < len(rows) == job.counts.completed < 3000
    assert all(row["output"]["text"] == f"text number {row['index']}" for row in rows)
    assert http.get(f"{path}/errors").content == b""
    assert http.post(f"{path}/cancel").json()["status"] == "cancelled"
    time.sleep(1)  # nobody goes on with it
    assert job.refresh().counts == job.counts


def test_a_job_is_cancelled_before_anything_was_done(tm: Textmill) -> None:
    job = tm.jobs.create(kind="echo", input=["a"], params={"delay_ms": 5000})
    job.cancel()
    job = ended(job)
    assert (job.status, list(job.results()), list(job.errors())) == ("cancelled", [], [])


def test_an_ended_job_is_not_cancelled(tm: Textmill, http: httpx.Client) -> None:
    job = ended(tm.jobs.create(kind="echo", input=["a"]))
    problem(http.post(f"/v1/jobs/{job.id}/cancel"), 409, "conflict")
    assert job.refresh().status == "completed"


def test_a_more_urgent_job_goes_first(tm: Textmill) -> None:
    slow = tm.jobs.create(kind="echo", input=upload(tm, numbered(2500)), params={"delay_ms": 2})
    wait_for(lambda: slow.refresh().started_at, 30)
    urgent = ended(tm.jobs.create(kind="echo", input=["now"], priority="high"))
    assert urgent.status == "completed"
    assert not slow.refresh().ended
    slow.cancel()
    assert ended(slow).status == "cancelled"
