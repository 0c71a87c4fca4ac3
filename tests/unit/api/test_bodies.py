"""JSON bodies are read strictly, and no body costs more memory than the limit."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard
from flask import Flask, Response
from pydantic import BaseModel, ConfigDict
from werkzeug.test import TestResponse

from api.bodies import MAX_DEPTH
from api.operations import Answer, operation
from api.responses import json_response
from tests.unit.api.applications import application

LIMIT = 64 << 10
GOOD = b'{"name": "a", "count": 1}'


class Body(BaseModel):
    """What the test's route takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = ""
    count: int = 0
    items: list[Any] = []
    more: dict[str, Any] = {}


@pytest.fixture(scope="module")
def app() -> Flask:
    app = application(max_request_bytes=LIMIT)

    @app.post("/echo")
    @operation(name="echo", tag="system", body=Body, answers={200: Answer(description="The same.")})
    def echo(body: Body) -> Response:
        return json_response(body.model_dump())

    return app


def post(app: Flask, data: bytes, **headers: str) -> TestResponse:
    given = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return app.test_client().post("/echo", data=data, headers=given)


def refused(app: Flask, data: bytes, status: int, code: str, **headers: str) -> dict[str, Any]:
    reply = post(app, data, **headers)
    assert reply.status_code == status, reply.text
    assert reply.content_type == "application/problem+json"
    document: dict[str, Any] = json.loads(reply.data)
    assert document["type"] == f"urn:textmill:error:{code}"
    assert document["request_id"] == reply.headers["X-Request-Id"]
    return document


def zstd(data: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)


def endless(data: bytes) -> bytes:
    """A frame that does not tell its size, and whose window is 128 MiB."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("identity", GOOD),
        ("", GOOD),
        ("gzip", gzip.compress(GOOD, mtime=0)),
        ("GZIP", gzip.compress(GOOD, mtime=0)),
        ("x-gzip", gzip.compress(GOOD, mtime=0)),
        ("gzip", gzip.compress(GOOD[:9], mtime=0) + gzip.compress(GOOD[9:], mtime=0)),
        ("zstd", zstd(GOOD)),
        ("zstd", zstd(GOOD[:9]) + zstd(GOOD[9:])),
        ("zstd", zstd(GOOD + b" " * (LIMIT - len(GOOD)), level=22)),
        ("gzip", gzip.compress(GOOD + b" " * (LIMIT - len(GOOD)))),
    ],
)
def test_a_body_may_be_compressed(app: Flask, encoding: str, data: bytes) -> None:
    reply = post(app, data, Content_Encoding=encoding)
    assert (reply.status_code, reply.json) == (
        200,
        {"name": "a", "count": 1, "items": [], "more": {}},
    )


@pytest.mark.parametrize(
    "encoding", ["br", "deflate", "compress", "gzip, gzip", "zstd,gzip", "identity, gzip", "*", "x"]
)
def test_another_encoding_is_refused_with_those_that_are_taken(app: Flask, encoding: str) -> None:
    reply = post(app, GOOD, Content_Encoding=encoding)
    assert reply.status_code == 415
    assert reply.headers["Accept-Encoding"] == "gzip, zstd"
    refused(app, GOOD, 415, "unsupported_media_type", Content_Encoding=encoding)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-ndjson", "application/json; charset=utf-16", "x", "json"],
)
def test_another_type_is_refused(app: Flask, content_type: str) -> None:
    refused(app, GOOD, 415, "unsupported_media_type", Content_Type=content_type)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", GOOD),
        ("gzip", b""),
        ("gzip", zstd(GOOD)),
        ("gzip", gzip.compress(GOOD, mtime=0)[:-4]),
        ("gzip", gzip.compress(GOOD, mtime=0)[:-8] + b"\0" * 8),
        ("gzip", zlib.compress(GOOD)),
        ("gzip", gzip.compress(b"", mtime=0) * 2000),
        ("zstd", GOOD),
        ("zstd", b""),
        ("zstd", gzip.compress(GOOD, mtime=0)),
        ("zstd", zstd(GOOD)[:-1]),
        ("zstd", zstd(GOOD) + b"more"),
        ("zstd", zstd(b"") * 2000),
    ],
)
def test_what_is_not_compressed_so_is_malformed(app: Flask, encoding: str, data: bytes) -> None:
    refused(app, data, 400, "malformed_body", Content_Encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("identity", b" " * (LIMIT + 1)),
        ("gzip", gzip.compress(b" " * (LIMIT + 1), mtime=0)),
        ("gzip", gzip.compress(bytes(50 << 20), 9, mtime=0)),
        ("gzip", gzip.compress(b" " * LIMIT, mtime=0) + gzip.compress(b" ", mtime=0)),
        ("zstd", zstd(b" " * (LIMIT + 1))),
        ("zstd", zstd(bytes(200 << 20))),
        ("zstd", endless(GOOD)),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_what_expands_beyond_the_limit_costs_no_more_than_it(
    app: Flask, encoding: str, data: bytes
) -> None:
    refused(app, b" " * (LIMIT + 1), 413, "too_large")  # what is loaded once is loaded now
    tracemalloc.start()
    try:
        refused(app, data, 413, "too_large", Content_Encoding=encoding)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Pieces of up to 1 MiB come out of the decompressor.
    assert peak < LIMIT + len(data) + (3 << 20)


def test_a_body_of_unknown_length_is_bounded_too(app: Flask) -> None:
    environment = {
        "wsgi.input": io.BytesIO(b" " * (10 * LIMIT)),
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": None,
    }
    reply = app.test_client().post(
        "/echo", environ_overrides=environment, content_type="application/json"
    )
    assert reply.status_code == 413


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "Invalid JSON"),
        (b'{"name": "a"} {}', "Invalid JSON"),
        (b'{"name": "\xff"}', "Invalid JSON"),
        (b'\xef\xbb\xbf{"name": "a"}', "BOM"),
        ('{"name": "ü"}'.encode("latin-1"), "Invalid JSON"),
        ('{"name": "a"}'.encode("utf-16"), "Invalid JSON"),
        (b'{"name": "a\0b"}', "control character"),
        (b'{"name": "\\ud800"}', "surrogate"),
        (b'{"name": "\\udc00\\ud800"}', "surrogate"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b'{"count": NaN}', "Invalid JSON"),
        (b'{"count": Infinity}', "Invalid JSON"),
        (b'{"count": -Infinity}', "Invalid JSON"),
        (b'{"count": 1e999}', "infinity"),
        (b'{"count": ' + b"9" * 5000 + b"}", "infinity"),
        (b'{"count": 01}', "Invalid JSON"),
        (b'{"count": +1}', "Invalid JSON"),
        (b'{"count": 0x1}', "Invalid JSON"),
        (b"{'name': 'a'}", "Invalid JSON"),
        (b'{"name": "a",}', "Invalid JSON"),
        (b'{"name": "a" /* no */}', "Invalid JSON"),
        (b'{"name": "a", "name": "a"}', "'name' stands twice"),
        (b'{"name": "a", "n\\u0061me": "b"}', "'name' stands twice"),
        (b'{"more": {"x": [{"y": 1, "y": 2}]}}', "'y' stands twice"),
        (b'{"items": [{"text": "a", "text": "b"}]}', "'text' stands twice"),
        (b'{"more": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "nested"),
        (b'{"more": ' + b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH + b"}", "nested"),
        (b"[" * 60_000, "Invalid JSON"),
        (b"[" * 30_000 + b"]" * 30_000, "Invalid JSON"),
        (b'{"a":' * 10_000, "Invalid JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:24]),
)
def test_what_is_not_strictly_json_is_malformed(app: Flask, data: bytes, told: str) -> None:
    document = refused(app, data, 400, "malformed_body")
    assert told in document["detail"]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b'{"name": 1}', "name"),
        (b'{"count": "1"}', "count"),
        (b'{"count": 1.5}', "count"),
        (b'{"count": 1e30}', "count"),
        (b'{"count": 123456789012345678901234567890}', "count"),
        (b'{"count": true}', "count"),
        (b'{"count": null}', "count"),
        (b'{"colour": "red"}', "colour"),
        (b'{"name": "a\\u0000b"}', "name"),
        (b'{"more": {"x": ["y", "\\u0000"]}}', "more.x.1"),
        (b'{"more": {"\\u0000": 1}}', "more"),
        (b"[]", "body"),
        (b'"a"', "body"),
        (b"null", "body"),
        (b"7", "body"),
    ],
)
def test_a_wrong_field_is_named(app: Flask, data: bytes, field: str) -> None:
    document = refused(app, data, 422, "invalid_request")
    assert field in [error["field"] for error in document["errors"]]


def test_what_is_odd_but_right_is_taken(app: Flask) -> None:
    deepest = b"[" * (MAX_DEPTH - 2) + b"]" * (MAX_DEPTH - 2)
    for data in (
        b'{"more": {"deep": ' + deepest + b"}}",
        b'{"items": ["a\\u0000b", {"text": "\\u0000"}]}',  # bad rows become error rows
        b'{"more": {"n": 123456789012345678901234567890}}',
        b'{"name": "\\ud83d\\ude00"}',
        b'\t{"count": -0}\r\n',
        b'{"more": {"a": {"x": 1}, "b": {"x": 1}}}',
        b'{"name": "\\\\u0000"}',
    ):
        assert post(app, data).status_code == 200, data
    assert post(app, GOOD, Content_Type="application/json; charset=UTF-8").status_code == 200
    assert post(app, GOOD, Content_Type="").status_code == 200
