"""Uploads stream in bounded memory, arrive whole or not at all, and are repeated only where that is possible."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from tests.unit.client.scripted import (
    FILE_ID,
    JOB_ID,
    Answer,
    Request,
    ScriptedServer,
    job,
    problem,
    reply,
)
from tests.unit.client.shell import stored, uploaded
from textmill import File, InputError, InvalidRequest, Textmill, TransferFailed, Unavailable
from textmill.source import MAX_INLINE_ROWS
from textmill.upload import CHUNK

DOWN = problem(503, "unavailable", "the store cannot be reached")


def pipe(content: bytes) -> BinaryIO:
    """A source that can be read only once, like stdin at the end of a pipe."""
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, _Once(content))))


class _Once(io.RawIOBase):
    def __init__(self, content: bytes) -> None:
        self._source = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.readinto(buffer)


def test_a_path_is_uploaded_raw_with_its_length(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    path = tmp_path / "reviews ä.jsonl"
    path.write_bytes(b'{"text": "a"}\n')
    server.on("POST", "/v1/files", uploaded)
    seen: list[tuple[int, int | None]] = []
    file = tm.files.upload(path, progress=lambda sent, size: seen.append((sent, size)))
    (request,) = server.requests
    assert request.body == path.read_bytes()
    assert request.headers["content-type"] == "application/octet-stream"
    assert request.headers["content-length"] == "14"
    assert "transfer-encoding" not in request.headers
    assert (file.id, file.filename, file.bytes) == (FILE_ID, "reviews ä.jsonl", 14)
    assert seen == [(0, 14), (14, 14)]


def test_an_upload_takes_bounded_memory(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    path, size = tmp_path / "big.jsonl", 48 << 20
    with path.open("wb") as sink:
        sink.truncate(size)
    digest = hashlib.sha256(bytes(size)).hexdigest()
    server.on("POST", "/v1/files", reply({**stored("big.jsonl", b""), "sha256": digest}, 201))
    tracemalloc.start()
    tm.files.upload(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert server.requests[0].body_bytes == size
    assert peak < 8 << 20  # the server of this test keeps 1 MiB of it


def test_a_pipe_is_sent_in_chunks_as_it_comes(server: ScriptedServer, tm: Textmill) -> None:
    content = os.urandom(700_000)
    server.on("POST", "/v1/files", uploaded)
    tm.files.upload(pipe(content), filename="p.bin")
    (request,) = server.requests
    assert request.body == content
    assert request.headers["transfer-encoding"] == "chunked"
    assert 0 < request.largest_read <= CHUNK


def test_a_seekable_source_is_sent_again_from_where_it_stood(
    server: ScriptedServer, tm: Textmill
) -> None:
    source = io.BytesIO(b"skipped;kept")
    source.seek(8)
    server.on(
        "POST", "/v1/files", DOWN, Answer(cut_after=0, body=b"x"), Answer(status=502), uploaded
    )
    tm.files.upload(source, filename="a.txt")
    assert [request.body for request in server.requests] == [b"kept"] * 4


def test_a_pipe_is_not_sent_again(server: ScriptedServer, tm: Textmill) -> None:
    server.on("POST", "/v1/files", DOWN, uploaded)
    with pytest.raises(Unavailable):
        tm.files.upload(pipe(b"once"), filename="a.txt")
    assert len(server.requests) == 1


def test_a_checksum_that_differs_is_an_error(server: ScriptedServer, tm: Textmill) -> None:
    server.on("POST", "/v1/files", reply(stored("a.txt", b"other"), 201))
    with pytest.raises(TransferFailed, match="checksum"):
        tm.files.upload(io.BytesIO(b"content"), filename="a.txt")


def test_a_file_that_shrinks_meanwhile_is_an_error(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 3 * CHUNK)
    server.on("POST", "/v1/files", uploaded)

    def shrink(sent: int, _size: int | None) -> None:
        if sent == CHUNK:
            os.truncate(path, CHUNK)

    with pytest.raises(InputError, match="shorter"):
        tm.files.upload(path, progress=shrink)


def test_a_source_that_cannot_be_read_is_refused_before_anything_is_sent(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such file"):
        tm.files.upload(tmp_path / "none")
    with pytest.raises(InputError, match="folder"):
        tm.files.upload(tmp_path)
    with pytest.raises(InputError, match="text mode"):
        tm.files.upload(io.StringIO("text"), filename="a")  # type: ignore[arg-type]  # the fault
    assert server.requests == []


@pytest.mark.parametrize(
    ("source", "entry"),
    [
        ("s3://bucket/key.jsonl", {"uri": "s3://bucket/key.jsonl"}),
        (FILE_ID, {"file": FILE_ID}),
        (File(id=FILE_ID, filename="a", bytes=1), {"file": FILE_ID}),
        (["one", {"text": "two", "n": 1}], {"items": [{"text": "one"}, {"text": "two", "n": 1}]}),
    ],
)
def test_what_need_not_be_uploaded_is_not(
    server: ScriptedServer, tm: Textmill, source: str, entry: dict[str, object]
) -> None:
    server.on("POST", "/v1/jobs", reply(job(), 201))
    tm.jobs.create(kind="classify", input=source)
    assert server.requests[0].json["input"] == entry


def test_a_submission_says_only_what_was_said(server: ScriptedServer, tm: Textmill) -> None:
    server.on("POST", "/v1/jobs", reply(job(), 201))
    tm.jobs.create(kind="fine-tune", input=["a"], text_field="body")
    tm.jobs.create(
        kind="classify",
        model="m",
        input=["a"],
        params={"top_k": 2},
        name="n",
        format="jsonl",
        id_field="id",
        carry=["x"],
        priority="high",
        max_errors="1%",
        metadata={"team": "a"},
    )
    least, most = (request.json for request in server.requests)
    assert least == {
        "kind": "fine_tune",
        "input": {"items": [{"body": "a"}], "text_field": "body"},
    }
    assert most == {
        "kind": "classify",
        "model": "m",
        "name": "n",
        "input": {
            "items": [{"text": "a"}],
            "format": "jsonl",
            "id_field": "id",
            "carry": ["x"],
        },
        "params": {"top_k": 2},
        "priority": "high",
        "max_errors": "1%",
        "metadata": {"team": "a"},
    }


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": f"row {n}"} for n in range(MAX_INLINE_ROWS + 1)],
        [{"text": "long " * 50_000} for _ in range(4)],
    ],
)
def test_rows_beyond_the_inline_limits_travel_as_a_file(
    server: ScriptedServer, tm: Textmill, rows: list[dict[str, str]]
) -> None:
    server.on("POST", "/v1/files", DOWN, uploaded)
    server.on("POST", "/v1/jobs", reply(job(), 201))
    tm.jobs.create(kind="classify", input=rows)
    uploads, (submission,) = server.asked("POST", "/v1/files"), server.asked("POST", "/v1/jobs")
    assert submission.json["input"] == {"file": FILE_ID}
    assert len(uploads) == 2
    for upload in uploads:
        assert [json.loads(line) for line in upload.body.splitlines()] == rows
        assert upload.query["filename"] == "rows.jsonl"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "empty"),
        (["fine", 3], "row 1"),
        ([{"text": float("nan")}], "JSON"),
        ("http://example.com/a", "expected a path"),
        (b"bytes", "cannot read rows from bytes"),
        (42, "cannot read rows from int"),
    ],
)
def test_what_no_job_can_read_is_refused(
    server: ScriptedServer, tm: Textmill, source: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tm.jobs.create(kind="classify", input=source)
    assert server.requests == []


def test_a_refused_submission_keeps_its_upload_and_names_it(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    server.on("POST", "/v1/files", uploaded)
    server.on("POST", "/v1/jobs", problem(422, "unknown_model", "model: no such model"))
    with pytest.raises(InvalidRequest) as caught:
        tm.jobs.create(kind="classify", model="none", input="a.jsonl")
    assert FILE_ID in str(caught.value)


@pytest.mark.parametrize("same", [True, False])
def test_the_same_key_and_file_make_the_same_submission(
    server: ScriptedServer, tm: Textmill, tmp_path: Path, same: bool
) -> None:
    content = b'{"text": "a"}\n'
    (tmp_path / "a.jsonl").write_bytes(content)
    known = stored("a.jsonl", content if same else b"other")
    listed = {"data": [known], "has_more": False, "next_after": None}
    server.on("GET", "/v1/files", reply(listed))
    server.on("POST", "/v1/files", uploaded)
    server.on("POST", "/v1/jobs", reply(job(), 200))
    tm.jobs.create(kind="classify", input="a.jsonl", idempotency_key="night-1")
    assert len(server.asked("POST", "/v1/files")) == (0 if same else 1)
    assert server.asked("POST", "/v1/jobs")[0].json["input"] == {"file": FILE_ID}


def test_many_rows_with_the_same_key_make_the_same_submission(
    server: ScriptedServer, tm: Textmill
) -> None:
    rows = ["a text"] * (MAX_INLINE_ROWS + 1)
    known = stored("rows.jsonl", b'{"text": "a text"}\n' * len(rows))
    server.on("GET", "/v1/files", reply({"data": [known], "has_more": False, "next_after": None}))
    server.on("POST", "/v1/jobs", reply(job(), 200))
    tm.jobs.create(kind="classify", input=rows, idempotency_key="night-1")
    assert server.asked("POST", "/v1/files") == []
    assert server.asked("POST", "/v1/jobs")[0].json["input"] == {"file": FILE_ID}


def test_a_key_that_no_header_can_hold_is_refused_before_the_upload(
    server: ScriptedServer, tm: Textmill
) -> None:
    for key in ("schlüssel", "two words", "", "k" * 256):
        with pytest.raises(InputError, match="idempotency key"):
            tm.jobs.create(kind="classify", input=["a"], idempotency_key=key)
    assert server.requests == []


@pytest.mark.parametrize("act", ["get", "delete", "list"])
def test_files_are_listed_shown_and_deleted(server: ScriptedServer, tm: Textmill, act: str) -> None:
    raw = stored("a.txt", b"a")
    other = {**raw, "id": "file_2"}
    pages: Callable[[Request], Answer] = lambda request: reply(  # noqa: E731 - read where it is used
        {"data": [raw], "has_more": True, "next_after": FILE_ID}
        if "after" not in request.query
        else {"data": [other], "has_more": False, "next_after": None}
    )
    server.on("GET", "/v1/files", pages)
    server.on("GET", f"/v1/files/{FILE_ID}", reply(raw))
    server.on("DELETE", f"/v1/files/{FILE_ID}", Answer(status=204))
    if act == "get":
        assert tm.files.get(FILE_ID).raw == raw
    elif act == "delete":
        assert tm.files.delete(FILE_ID) is None
    else:
        assert [file.id for file in tm.files.list()] == [FILE_ID, "file_2"]
        assert len(server.requests) == 2


def test_a_path_that_could_leave_its_place_is_quoted(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", "/v1/jobs/..%2Ffiles%3Fx", reply(job()))
    assert tm.jobs.get("../files?x").id == JOB_ID
