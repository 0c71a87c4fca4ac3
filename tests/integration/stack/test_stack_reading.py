"""What clients see of a job while it runs and after: its object, lists, results, artifacts."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime

import httpx
import pytest
import zstandard
from minio import Minio

from tests.integration.stack.dialogue import (
    ended,
    jsonl,
    numbered,
    outcome,
    problem,
    submission,
    upload,
)
from tests.integration.stack.running import wait_for
from textmill import Job, Textmill

BUCKET = "textmill"


@pytest.fixture(scope="module")
def done(tm: Textmill) -> Job:
    """A job of 1,200 rows that has completed, some rows with an error."""
    rows = ({"custom_id": f"r{n}", "text": f"text {n}"} for n in range(1200))
    job = tm.jobs.create(
        kind="echo",
        input=upload(tm, jsonl(rows)),
        params={"fail_on": "99"},
        name="reading",
        metadata={"team": "support"},
        priority="high",
    )
    return ended(job)


def test_the_fields_of_a_job(http: httpx.Client, done: Job) -> None:
    job = http.get(f"/v1/jobs/{done.id}").json()
    assert set(job) == {
        "id",
        "object",
        "kind",
        "name",
        "status",
        "model",
        "priority",
        "metadata",
        "request_counts",
        "progress",
        "created_at",
        "started_at",
        "ended_at",
        "expires_at",
        "attempts",
        "waiting",
        "training",
        "corpus",
        "estimate",
        "evaluation",
        "schedule",
        "output",
        "usage",
        "error",
        "warnings",
        "links",
    }
    failed = sum("99" in str(n) for n in range(1200))
    assert (job["id"], job["kind"], job["name"]) == (done.id, "echo", "reading")
    assert (job["status"], job["priority"], job["attempts"]) == ("completed", "high", 1)
    assert job["metadata"] == {"team": "support"}
    assert job["request_counts"] == {"total": 1200, "completed": 1200 - failed, "failed": failed}
    assert job["progress"]["fraction"] == 1
    assert job["progress"]["eta_seconds"] == 0
    assert job["progress"]["rows_per_second"] > 0
    assert job["usage"]["input_tokens"] == 2 * (1200 - failed)
    assert job["usage"]["device_seconds"] >= 0
    moments = [job[name] for name in ("created_at", "started_at", "ended_at")]
    assert moments == sorted(moments)
    assert all(moment.endswith("Z") and datetime.fromisoformat(moment) for moment in moments)
    assert (job["error"], job["model"], job["warnings"]) == (None, None, [])
    for name in ("self", "results", "errors"):
        assert http.get(job["links"][name]).status_code == 200


def test_an_unchanged_job_is_not_sent_again(http: httpx.Client, done: Job) -> None:
    etag = http.get(f"/v1/jobs/{done.id}").headers["ETag"]
    again = http.get(f"/v1/jobs/{done.id}", headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert http.get(f"/v1/jobs/{done.id}", headers={"If-None-Match": '"0"'}).status_code == 200
    begun = time.monotonic()
    assert http.get(f"/v1/jobs/{done.id}?wait=20").status_code == 200
    assert time.monotonic() - begun < 5  # an ended job never changes: nothing to wait for


def test_wait_answers_when_the_job_changes(http: httpx.Client) -> None:
    body = submission(params={"delay_ms": 1000})
    job = http.post("/v1/jobs", json=body).json()
    begun = time.monotonic()
    while job["status"] != "completed":
        reply = http.get(f"/v1/jobs/{job['id']}", params={"wait": 25})
        assert reply.status_code == 200
        assert time.monotonic() - begun < 20
        job = reply.json()


def test_wait_ends_when_nothing_changes(http: httpx.Client) -> None:
    job = http.post("/v1/jobs", json=submission(params={"delay_ms": 4000})).json()
    wait_for(lambda: http.get(f"/v1/jobs/{job['id']}").json()["started_at"], 20)
    etag = http.get(f"/v1/jobs/{job['id']}").headers["ETag"]
    begun = time.monotonic()
    reply = http.get(f"/v1/jobs/{job['id']}?wait=1", headers={"If-None-Match": etag})
    assert reply.status_code == 304
    assert 0.9 < time.monotonic() - begun < 3


def test_partial_results_while_a_job_runs(tm: Textmill, http: httpx.Client) -> None:
    job = tm.jobs.create(
        kind="echo", input=upload(tm, numbered(1500)), params={"delay_ms": 1.5, "fail_on": "7"}
    )
    path = f"/v1/jobs/{job.id}/results"
    problem(http.get(path), 409, "conflict")
    problem(http.get(f"/v1/jobs/{job.id}/errors"), 409, "conflict")
    wait_for(lambda: job.refresh().counts.completed, 30)
    reply = http.get(path, params={"partial": "true"})
    assert reply.headers["Textmill-Partial"] == "true"
    rows = [json.loads(line) for line in reply.content.splitlines()]
    early = http.get(f"/v1/jobs/{job.id}/errors?partial=true").content
    assert early.startswith(b'{"custom_id":"r7","index":7,')
    assert job.refresh().status == "in_progress"
    assert 0 < len(rows) < 1500
    results, _ = outcome(job)
    by_index = {row["index"]: row for row in results}
    assert all(by_index[row["index"]] == row for row in rows)


def test_lists_page_newest_first_and_filter(http: httpx.Client) -> None:
    name = f"list-{time.time_ns()}"
    ids = [http.post("/v1/jobs", json=submission(name=name)).json()["id"] for _ in range(5)]
    wait_for(
        lambda: all(http.get(f"/v1/jobs/{one}").json()["status"] == "completed" for one in ids), 60
    )
    query = {"name": name, "limit": "2"}
    seen: list[str] = []
    while True:
        page = http.get("/v1/jobs", params=query).json()
        seen += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            break
        assert len(page["data"]) == 2
        query["after"] = page["next_after"]
    assert page["next_after"] is None
    assert sorted(seen) == sorted(ids)
    times = [http.get(f"/v1/jobs/{one}").json()["created_at"] for one in seen]
    assert times == sorted(times, reverse=True)

    def count(**query: str) -> int:
        return len(http.get("/v1/jobs", params={"name": name, **query}).json()["data"])

    assert count(status="completed", kind="echo") == 5
    assert count(status="failed") == count(kind="classify") == 0


def test_ranges_of_results(http: httpx.Client, done: Job) -> None:
    path = f"/v1/jobs/{done.id}/results"
    whole = http.get(path)
    size = len(whole.content)
    assert whole.headers["Content-Length"] == str(size)
    assert whole.headers["Accept-Ranges"] == "bytes"
    for asked, expected in {
        "bytes=0-9": whole.content[:10],
        "bytes=100-": whole.content[100:],
        "bytes=-7": whole.content[-7:],
        f"bytes={size - 1}-{size + 50}": whole.content[-1:],
    }.items():
        part = http.get(path, headers={"Range": asked})
        assert (part.status_code, part.content) == (206, expected)
        assert part.headers["Content-Range"].endswith(f"/{size}")
        assert part.headers["ETag"] == whole.headers["ETag"]
    changed = http.get(path, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    for asked in ("bytes=5-2", f"bytes={size}-", "bytes=-0", "bytes=0-1,3-4", "bytes=x"):
        refused = http.get(path, headers={"Range": asked})
        problem(refused, 416, "range_not_satisfiable")
        assert refused.headers["Content-Range"] == f"bytes */{size}"
    other_units = http.get(path, headers={"Range": "lines=1-2"})
    assert (other_units.status_code, other_units.content) == (200, whole.content)
    for headers in ({}, {"Range": "bytes=0-9"}):
        head = http.head(path, headers=headers)
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(size))


def test_results_that_are_there_already_are_not_sent_again(http: httpx.Client, done: Job) -> None:
    for section in ("results", "errors"):
        path = f"/v1/jobs/{done.id}/{section}"
        etag = http.get(path).headers["ETag"]
        for named in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            again = http.get(path, headers={"If-None-Match": named, "Range": "bytes=0-9"})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
        assert http.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_results_by_way_of_the_store(http: httpx.Client, done: Job) -> None:
    path = f"/v1/jobs/{done.id}/results"
    reply = http.get(path, params={"redirect": "true"})
    assert reply.status_code == 307
    stored = httpx.get(reply.headers["Location"], trust_env=False)
    assert stored.content == http.get(path).content
    assert f"{done.id}-results.jsonl" in stored.headers["Content-Disposition"]
    ranged = httpx.get(reply.headers["Location"], headers={"Range": "bytes=5-9"}, trust_env=False)
    assert (ranged.status_code, ranged.content) == (206, stored.content[5:10])
    for query in ({"format": "csv"}, {"format": "parquet"}):
        refused = http.get(path, params={"redirect": "true", **query})
        problem(refused, 422, "invalid_request", "redirect")
    running = http.post("/v1/jobs", json=submission(params={"delay_ms": 3000})).json()
    early = http.get(f"/v1/jobs/{running['id']}/results?redirect=true&partial=true")
    problem(early, 409, "conflict")


def test_artifacts_in_the_object_store(s3: Minio, http: httpx.Client, done: Job) -> None:
    prefix = f"tenants/default/jobs/{done.id}/"
    objects: dict[str, bytes] = {}
    for item in s3.list_objects(BUCKET, prefix, recursive=True):
        assert item.object_name is not None
        with s3.get_object(BUCKET, item.object_name) as reply:
            objects[item.object_name.removeprefix(prefix)] = reply.read()
    assert json.loads(objects["job.json"])["spec"]["name"] == "reading"
    assert json.loads(objects["plan.json"])["sources"][0]["name"] == "rows.jsonl"
    results = http.get(f"/v1/jobs/{done.id}/results").content
    errors = http.get(f"/v1/jobs/{done.id}/errors").content
    assert (objects["results.jsonl"], objects["errors.jsonl"]) == (results, errors)
    manifest = json.loads(objects["manifest.json"])
    assert manifest["job"]["status"] == "completed"
    for section, content in {"results": results, "errors": errors}.items():
        output = manifest["outputs"][section]
        assert output["bytes"] == len(content)
        assert objects[output["object"].removeprefix(prefix)] == content
    for room in ("shards/", "parts/"):
        ranges = [name[len(room) :].split(".")[0] for name in objects if name.startswith(room)]
        edges = [tuple(map(int, one.split("-"))) for one in sorted(ranges)]
        assert [start for start, _ in edges] == [0, *(stop for _, stop in edges[:-1])]
        assert edges[-1][1] == 1200
    shard = objects[next(name for name in objects if name.startswith("shards/000000000000-"))]
    first = zstandard.ZstdDecompressor().decompressobj().decompress(shard).splitlines()[0]
    assert json.loads(first)["text"] == "text 0"


def test_the_same_input_gives_the_same_bytes(tm: Textmill, http: httpx.Client, done: Job) -> None:
    rows = jsonl({"custom_id": f"r{n}", "text": f"text {n}"} for n in range(1200))
    params = {"fail_on": "99", "delay_ms": 0.3}
    again = tm.jobs.create(
        kind="echo",
        input=upload(
            tm,
            rows,
        ),
        params=params,
    )
    assert ended(again).status == "completed"
    for section in ("results", "errors"):
        first, second = (http.get(f"/v1/jobs/{one.id}/{section}") for one in (done, again))
        assert first.content == second.content
        assert first.content


def test_many_jobs_at_once(tm: Textmill) -> None:
    jobs: list[Job] = []
    lock = threading.Lock()

    def submit(number: int) -> None:
        job = tm.jobs.create(kind="echo", input=[f"text {number}"] * 20)
        with lock:
            jobs.append(job)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(jobs) == 20
    for job in jobs:
        assert len(outcome(job)[0]) == 20
