"""Results and errors of real jobs as JSON lines, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from minio import Minio

from tests.integration.stack.dialogue import ended, jsonl, numbered, outcome, problem, upload
from tests.integration.stack.running import wait_for
from textmill import ConnectionFailed, Job, Textmill

BUCKET = "textmill"

TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}

#: Texts that a careless writer would break on.
HOSTILE = ["a, b", 'say "x"', "two\nlines", "\r\n", " edges ", "=1+1", "שלום \u202e!", "🎈", "''"]


@pytest.fixture(scope="module")
def done(tm: Textmill) -> Job:
    """A job with hostile texts and a carried column that has completed, some rows with an error."""
    rows = (
        {"custom_id": f'r"{n}"', "text": f"{HOSTILE[n % 9]} {n}", "n": n, "lang": None}
        for n in range(3000)
    )
    job = tm.jobs.create(
        kind="echo",
        input=upload(tm, jsonl(rows)),
        params={"fail_on": "77"},
        carry=["n", "lang"],
    )
    return ended(job)


def read(content: bytes, format_: str) -> list[dict[str, Any]]:
    """The rows of a CSV or Parquet file by their columns' names; of CSV all as text."""
    if format_ == "csv":
        return list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))
    found: list[dict[str, Any]] = pq.read_table(pa.BufferReader(content)).to_pylist()
    return found


def as_table(row: dict[str, Any]) -> dict[str, Any]:
    """What a result or error row of the echo kind must be in a table."""
    start: dict[str, Any] = {"index": row["index"], "custom_id": row["custom_id"]}
    if "error" in row:
        return {**start, **row["error"], "source": row["source"], "line": row["line"]}
    table = {**start, **row["output"], "output": None, **row["usage"]}
    if "fields" in row:
        table["fields"] = json.dumps(row["fields"], separators=(",", ":"), ensure_ascii=False)
    return table


def as_csv(row: dict[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in row.items()}


@pytest.mark.parametrize("section", ["results", "errors"])
@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_every_format_says_the_same(
    http: httpx.Client, done: Job, section: str, format_: str
) -> None:
    path = f"/v1/jobs/{done.id}/{section}"
    lines = http.get(path, params={"format": "jsonl"})
    assert lines.content == http.get(path).content
    wanted = [as_table(json.loads(line)) for line in lines.content.splitlines()]
    assert len(wanted) > 50
    reply = http.get(path, params={"format": format_})
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == TYPES[format_]
    assert reply.headers["Content-Disposition"].endswith(f'"{done.id}-{section}.{format_}"')
    found = read(reply.content, format_)
    assert list(found[0]) == list(wanted[0])
    assert found == ([as_csv(row) for row in wanted] if format_ == "csv" else wanted)


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_ranges_are_for_json_lines_only(http: httpx.Client, done: Job, format_: str) -> None:
    path = f"/v1/jobs/{done.id}/errors?format={format_}"
    whole = http.get(path)
    assert whole.headers["Accept-Ranges"] == "none"
    part = http.get(path, headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (200, whole.content)
    head = http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == TYPES[format_]


def test_kinds_show_their_columns(http: httpx.Client) -> None:
    kinds = {kind["name"]: kind["output_columns"] for kind in http.get("/v1/kinds").json()["data"]}
    assert kinds["echo"] == {"text": "string"}
    assert kinds["classify"]["labels"] == "json"


def test_an_unknown_format_is_refused(http: httpx.Client, done: Job) -> None:
    for section in ("results", "errors"):
        for value in ("xml", "CSV", ""):
            reply = http.get(f"/v1/jobs/{done.id}/{section}", params={"format": value})
            document = problem(reply, 422, "invalid_request", "format")
            assert "'jsonl', 'csv' or 'parquet'" in document["detail"]


def test_partial_results_in_every_format(tm: Textmill, http: httpx.Client) -> None:
    job = tm.jobs.create(
        kind="echo", input=upload(tm, numbered(1500)), params={"delay_ms": 1.5, "fail_on": "7"}
    )
    path = f"/v1/jobs/{job.id}"
    problem(http.get(f"{path}/results?format=csv"), 409, "conflict")
    wait_for(lambda: job.refresh().counts.completed, 30)
    early: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for section in ("results", "errors"):
        for format_ in ("csv", "parquet"):
            reply = http.get(f"{path}/{section}", params={"format": format_, "partial": "true"})
            assert reply.headers["Textmill-Partial"] == "true"
            assert reply.headers["Content-Type"] == TYPES[format_]
            early[section, format_] = read(reply.content, format_)
    assert job.refresh().status == "in_progress"
    for rows, section in zip(outcome(job), ("results", "errors"), strict=True):
        wanted = {row["index"]: as_table(row) for row in rows}
        assert 0 < len(early[section, "csv"]) < len(rows)
        for row in early[section, "parquet"]:
            assert row == wanted[row["index"]]
        for row in early[section, "csv"]:
            assert row == as_csv(wanted[int(row["index"])])


def test_the_client_saves_every_format(tm: Textmill, done: Job, tmp_path: Path) -> None:
    done.download(tmp_path / "out.parquet")
    done.download(tmp_path / "out.csv")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.num_rows == done.counts.completed
    assert len(read((tmp_path / "out.csv").read_bytes(), "csv")) == done.counts.completed


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_a_fault_on_the_way_breaks_the_connection(
    tm: Textmill, http: httpx.Client, s3: Minio, tmp_path: Path, format_: str
) -> None:
    job = ended(tm.jobs.create(kind="echo", input=upload(tm, numbered(4000))))
    with s3.get_object(BUCKET, f"tenants/default/jobs/{job.id}/manifest.json") as reply:
        name = json.loads(reply.read())["outputs"]["results"]["object"]
    whole = http.get(f"/v1/jobs/{job.id}/results").content
    damaged = whole[:-20]
    s3.put_object(BUCKET, name, io.BytesIO(damaged), len(damaged))
    with pytest.raises((httpx.RemoteProtocolError, httpx.HTTPStatusError)):
        http.get(f"/v1/jobs/{job.id}/results", params={"format": format_}).raise_for_status()
    if format_ == "csv":  # some of it is sent before the fault is met
        with pytest.raises(ConnectionFailed):
            job.download(tmp_path / "out.csv")
        assert list(tmp_path.iterdir()) == []
