"""Requests that no honest client sends: each is refused by a clear problem, and the server goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.stack.dialogue import outcome, problem, submission
from tests.integration.stack.running import RunningStack
from textmill import Textmill

JSON = {"Content-Type": "application/json"}
NO_JOB = "job_" + "0" * 26
NO_FILE = "file_" + "0" * 26


@pytest.fixture(autouse=True)
def _unharmed(stack: RunningStack, http: httpx.Client) -> Iterator[None]:
    """The same processes serve before and after each test."""
    before = _api_processes(stack)
    yield
    assert http.get("/readyz").status_code == 200
    assert _api_processes(stack) == before


def _api_processes(stack: RunningStack) -> list[int]:
    master = stack.process("api")
    assert master is not None
    return [master.pid, *(one.pid for one in master.children())]


@pytest.fixture(scope="module", autouse=True)
def _still_working(tm: Textmill) -> Iterator[None]:
    """After all of it, jobs are done as before."""
    yield
    assert len(outcome(tm.jobs.create(kind="echo", input=["a", "b"]))[0]) == 2


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        "Bearer tm_" + "0" * 26 + "_" + "A" * 32,
        "Basic dXNlcjpwYXNz",
        "tm_" + "0" * 26,
        b"Bearer \xff\xfe",
        "Bearer " + "k" * 4000,
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/files", f"/v1/jobs/{NO_JOB}/results"])
def test_without_a_valid_key(
    stack: RunningStack, authorization: str | bytes | None, path: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    url = stack.client.url + path
    reply = httpx.get(url, headers=headers, trust_env=False)  # type: ignore[arg-type]  # bytes on purpose
    document = problem(reply, 401, "unauthenticated")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert "tm_" not in str(document)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (submission(kind="nonsense"), "kind"),
        (submission(kind=7), "kind"),
        (submission(colour="red"), "colour"),
        (submission(input={}), "input"),
        (submission(input={"items": []}), "input.items"),
        (submission(input={"items": [{"text": "a"}] * 1001}), "input.items"),
        (submission(input={"items": [{"text": "a"}], "file": NO_FILE}), "input"),
        (submission(input={"items": [{"text": "a"}], "format": "xml"}), "input.format"),
        (submission(input={"items": [{"text": "a"}], "text_field": ""}), "input.text_field"),
        (submission(input={"file": NO_FILE}), "input.file"),
        (submission(input={"file": "../../keys/a"}), "input.file"),
        (submission(input={"file": "file_\0"}), "input.file"),
        (submission(input={"uri": "s3://corpora/../textmill/tenants/"}), "input.uri"),
        (submission(input={"uri": "s3://corpora/a/../../textmill/x.jsonl"}), "input.uri"),
        (submission(input={"uri": "s3://textmill/tenants/default/keys/*"}), "input.uri"),
        (submission(input={"uri": "s3://corpora"}), "input.uri"),
        (submission(input={"uri": "s3://corpora-of-others/x.jsonl"}), "input.uri"),
        (submission(input={"uri": "http://127.0.0.1/x.jsonl"}), "input.uri"),
        (submission(input={"uri": "file:///etc/passwd"}), "input.uri"),
        (submission(input={"uri": "s3://corpora/a\nb"}), "input.uri"),
        (submission(params={"delay_ms": -1}), "params.delay_ms"),
        (submission(params={"delay_ms": "1"}), "params.delay_ms"),
        (submission(params={"delay_ms": 10**30}), "params.delay_ms"),
        (submission(params=[]), "params"),
        (submission(priority="asap"), "priority"),
        (submission(max_errors=-1), "max_errors"),
        (submission(max_errors="101%"), "max_errors"),
        (submission(max_errors="lots"), "max_errors"),
        (submission(name="n" * 201), "name"),
        (submission(metadata={"a": 1}), "metadata.a"),
        (submission(metadata={f"k{n}": "v" for n in range(51)}), "metadata"),
        ([], "body"),
    ],
)
def test_a_wrong_field_is_named(http: httpx.Client, body: Any, field: str) -> None:
    document = problem(http.post("/v1/jobs", json=body), 422, "invalid_request")
    named = [error["field"] for error in document["errors"]]
    assert any(name == field or name.startswith(field + ".") for name in named), named


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"nonsense",
        b'{"kind": "echo", "kind"}',
        b'{"kind": "\xff\xfe"}',
        b'{"kind": "\\ud800"}',
        b'{"kind": "a\0b"}',
        b'{"params": {"delay_ms": NaN}}',
        b'{"params": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"input": {"items": [' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"]}}",
        "{}".encode("utf-16"),
    ],
)
def test_a_body_that_is_not_json(http: httpx.Client, body: bytes) -> None:
    problem(http.post("/v1/jobs", content=body, headers=JSON), 400, "malformed_body")


def test_numbers_beyond_64_bits_are_taken_or_refused_but_never_break_anything(
    http: httpx.Client, tm: Textmill
) -> None:
    huge = str(10**60)
    items = f'[{{"text": "a", "n": {huge}}}, {{"text": "b", "custom_id": {huge}}}]'
    body = f'{{"kind": "echo", "input": {{"items": {items}, "carry": ["n"]}}}}'
    reply = http.post("/v1/jobs", content=body, headers=JSON)
    assert reply.status_code == 201
    results, errors = outcome(tm.jobs.get(reply.json()["id"]))
    assert [row["fields"]["n"] for row in results] == [1e60]
    assert [row["error"]["code"] for row in errors] == ["invalid_custom_id"]


def _endless(size: int) -> Iterator[bytes]:
    yield b'{"kind": "'
    for _ in range(size >> 16):
        yield b"a" * (1 << 16)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/models"])
def test_a_body_over_the_limit(http: httpx.Client, path: str) -> None:
    """Whether its length is announced or not; and the connection is of use afterwards."""
    for _ in range(3):
        for content in (b" " * (20 << 20), _endless(20 << 20)):
            problem(http.post(path, content=content, headers=JSON), 413, "too_large")
            assert http.get("/healthz").status_code == 200
    inline = submission(input={"items": [{"text": "a" * ((1 << 20) + 1)}]})
    problem(http.post("/v1/jobs", json=inline), 413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("DELETE", "/v1/jobs", 405, "method_not_allowed"),
        ("PUT", f"/v1/jobs/{NO_JOB}", 405, "method_not_allowed"),
        ("GET", f"/v1/jobs/{NO_JOB}/cancel", 405, "method_not_allowed"),
        ("PATCH", "/v1/files", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v2/jobs", 404, "not_found"),
        ("GET", f"/v1/jobs/{NO_JOB}", 404, "not_found"),
        ("GET", f"/v1/jobs/{NO_JOB}/results", 404, "not_found"),
        ("POST", f"/v1/jobs/{NO_JOB}/cancel", 404, "not_found"),
        ("GET", "/v1/jobs/nonsense", 404, "not_found"),
        ("GET", "/v1/jobs/%2e%2e", 404, "not_found"),
        ("GET", "/v1/jobs/..%2f..%2fkeys", 404, "not_found"),
        ("GET", "/v1/jobs/job_%00", 404, "not_found"),
        ("GET", "/v1/files/..%2f..%2fkeys", 404, "not_found"),
        ("GET", f"/v1/files/{NO_FILE}/content", 404, "not_found"),
        ("DELETE", f"/v1/files/{NO_FILE}", 404, "not_found"),
        ("DELETE", "/v1/files/..", 404, "not_found"),
        ("GET", "/v1/models/nothing", 404, "not_found"),
        ("GET", "/v1/models/%2e%2e", 404, "not_found"),
        ("GET", "/v1/models/a%00b", 404, "not_found"),
        ("GET", "/v1/models/%ff", 404, "not_found"),
        ("GET", "/v1/jobs?limit=0", 422, "invalid_request"),
        ("GET", "/v1/jobs?limit=101", 422, "invalid_request"),
        ("GET", "/v1/jobs?limit=ten", 422, "invalid_request"),
        ("GET", "/v1/jobs?limit=%D9%A3", 422, "invalid_request"),
        ("GET", "/v1/jobs?limit=1&limit=2", 422, "invalid_request"),
        ("GET", "/v1/jobs?kind=echo&kind=classify", 422, "invalid_request"),
        ("GET", "/v1/jobs?status=done", 422, "invalid_request"),
        ("GET", "/v1/jobs?colour=red", 422, "invalid_request"),
        ("GET", f"/v1/jobs?after={NO_JOB}", 404, "not_found"),
        ("GET", "/v1/files?limit=1e3", 422, "invalid_request"),
        ("GET", "/v1/files?after=a&after=b", 422, "invalid_request"),
        ("GET", f"/v1/jobs/{NO_JOB}?wait=31", 422, "invalid_request"),
        ("GET", f"/v1/jobs/{NO_JOB}?wait=-1", 422, "invalid_request"),
        ("GET", f"/v1/jobs/{NO_JOB}?wait=1&wait=2", 422, "invalid_request"),
        ("GET", f"/v1/jobs/{NO_JOB}/results?partial=yes", 422, "invalid_request"),
        ("GET", "/v1/kinds?limit=1", 422, "invalid_request"),
        ("GET", "/v1/models?limit=0", 422, "invalid_request"),
    ],
)
def test_a_wrong_address(
    http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    # Given as raw bytes, for httpx would tidy it up.
    url = http.base_url.copy_with(raw_path=path.encode())
    document = problem(http.request(method, url), status, code)
    if status == 422:
        assert document["errors"]


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "application/xml", "x"]
)
def test_another_content_type(http: httpx.Client, content_type: str) -> None:
    reply = http.post("/v1/jobs", content=b"{}", headers={"Content-Type": content_type})
    problem(reply, 415, "unsupported_media_type")


def test_compressed_bodies(http: httpx.Client) -> None:
    packed = {**JSON, "Content-Encoding": "br"}
    problem(http.post("/v1/jobs", content=b"x", headers=packed), 415, "unsupported_media_type")
    packed = {**JSON, "Content-Encoding": "gzip"}
    problem(http.post("/v1/jobs", content=b"x", headers=packed), 400, "malformed_body")
    packed = {"Content-Encoding": "gzip"}
    problem(http.post("/v1/files", content=b"x", headers=packed), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "filename", ["../rows.jsonl", "a/b.csv", "a\\b.csv", "..", "a\0b", "a\nb.csv", "n" * 256]
)
def test_a_filename_that_is_a_path_or_worse(http: httpx.Client, filename: str) -> None:
    raw = http.post("/v1/files", params={"filename": filename}, content=b"x")
    problem(raw, 422, "invalid_request", "filename")
    if filename.isprintable():
        form = http.post("/v1/files", files={"file": (filename, b"x" * 100_000)})
        problem(form, 422, "invalid_request", "filename")


def test_an_empty_upload(http: httpx.Client) -> None:
    problem(http.post("/v1/files", content=b""), 422, "invalid_request", "file")
    form = http.post("/v1/files", files={"file": ("a.csv", b"")})
    problem(form, 422, "invalid_request", "file")


MULTIPART = "multipart/form-data; boundary=b"
FILE_PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\ntext'
FIELD_PART = b'\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data", b"x", 400),
        (MULTIPART, b"no boundary at all", 400),
        (
            MULTIPART,
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\ndata',
            400,
        ),
        (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n', 422),
        (
            MULTIPART,
            b'--b\r\nContent-Disposition: form-data; name="x"; filename="a"\r\n\r\n1\r\n--b--',
            422,
        ),
        (MULTIPART, b"--b--\r\n", 422),
        (MULTIPART, FILE_PART + b"\r\n--b\r\n", 400),
        (MULTIPART, FILE_PART + b"\r\n--b" + FIELD_PART, 422),
        (MULTIPART, FILE_PART + b"\r\n" + FILE_PART + b"\r\n--b--", 422),
        (MULTIPART, b"--b\r\nX: " + b"y" * (1 << 20), 413),
    ],
)
def test_a_broken_form(http: httpx.Client, content_type: str, body: bytes, status: int) -> None:
    reply = http.post("/v1/files", content=body, headers={"Content-Type": content_type})
    codes = {400: "malformed_body", 413: "too_large", 422: "invalid_request"}
    problem(reply, status, codes[status])
