"""What tests say to a stack, and what must hold of every answer."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
from minio import Minio

from textmill import Job, JobFailed, Textmill

CORPORA = "corpora"

#: A busy machine may be slow; a job that takes longer hangs.
JOB_SECONDS = 120.0


def jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def numbered(count: int) -> bytes:
    """So many different rows as JSON lines."""
    return jsonl({"custom_id": f"r{n}", "text": f"text number {n}"} for n in range(count))


def upload(tm: Textmill, data: bytes, filename: str = "rows.jsonl") -> str:
    """Upload a file; its id."""
    return tm.files.upload(io.BytesIO(data), filename=filename).id


def put(s3: Minio, key: str, data: bytes) -> str:
    """Put an object into the bucket that jobs may read; its URI."""
    s3.put_object(CORPORA, key, io.BytesIO(data), len(data))
    return f"s3://{CORPORA}/{key}"


def packed(data: bytes) -> bytes:
    """The same as gzip."""
    return gzip.compress(data, mtime=0)


def ended(job: Job) -> Job:
    """The job once it has ended, well or not."""
    try:
        return job.wait(timeout=JOB_SECONDS)
    except JobFailed as failed:
        return failed.job


def outcome(job: Job) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The results and errors of a job that must have completed, each row in exactly one of them."""
    job = ended(job)
    assert job.status == "completed", job.raw
    results, errors = list(job.results()), list(job.errors())
    for rows in (results, errors):
        indices = [row["index"] for row in rows]
        assert indices == sorted(indices)
    assert sorted(row["index"] for row in results + errors) == list(range(len(results + errors)))
    assert job.raw["request_counts"] == {
        "total": len(results) + len(errors),
        "completed": len(results),
        "failed": len(errors),
    }
    return results, errors


def failure(job: Job) -> dict[str, Any]:
    """Why a job that must have failed did so."""
    job = ended(job)
    assert job.status == "failed", job.raw
    error: dict[str, Any] = job.raw["error"]
    assert error["message"]
    return error


def problem(
    response: httpx.Response, status: int, code: str, field: str | None = None
) -> dict[str, Any]:
    """A problem document (RFC 9457), checked; with ``field``, that this very field is named."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"urn:textmill:error:{code}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == response.headers["X-Request-Id"]
    for error in document["errors"]:
        assert error["field"]
        assert error["reason"]
    if field is not None:
        assert field in [error["field"] for error in document["errors"]]
    return document


def submission(**changes: Any) -> dict[str, Any]:
    """The body of a job that would be taken in, with changes that may make it wrong."""
    return {"kind": "echo", "input": {"items": [{"text": "a"}]}, **changes}
