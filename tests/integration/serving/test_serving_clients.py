"""Slow, broken and hostile clients on bare connections: each is refused or left, and nobody else notices."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from server.serving import HEAD_SECONDS
from tests.integration.serving.conftest import BODY_SILENCE_SECONDS, Starter
from tests.integration.serving.serving import TENANT, RunningApi, read_all, status_of
from tests.integration.stack.running import wait_for

SLOW_BODIES = 300
SLOW_HEADS = 100


def ask(api: RunningApi, *pieces: bytes) -> bytes:
    with api.connect() as connection:
        for piece in pieces:
            connection.sendall(piece)
        return read_all(connection)


def test_slow_clients_are_left_and_hurt_nobody(api: RunningApi) -> None:
    """Hundreds of bodies and heads that stop in the middle; a good caller beside them is served as ever."""
    seconds: list[float] = []
    with contextlib.ExitStack() as stack:
        heads, bodies = [], []
        for number in range(SLOW_HEADS):
            head = stack.enter_context(api.connect())
            head.sendall(b"" if number % 2 else b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\nX-Mo")
            heads.append(head)
        for number in range(SLOW_BODIES):
            body = stack.enter_context(api.connect())
            path = ("/v1/jobs", "/v1/files?filename=a.jsonl")[number % 2]
            body.sendall(
                api.head(f"POST {path}", ["Content-Type: application/json", "Content-Length: 999"])
            )
            body.sendall(b'{"kind"')
            bodies.append(body)
        until = time.monotonic() + HEAD_SECONDS
        with api.http() as http:
            while time.monotonic() < until:
                begun = time.perf_counter()
                assert http.get("/v1/jobs").status_code == 200
                seconds.append(time.perf_counter() - begun)
                time.sleep(0.02)
        answers = [read_all(body) for body in bodies]
        assert {status_of(one) for one in answers} == {408}
        assert json.loads(answers[0].partition(b"\r\n\r\n")[2])["code"] == "body_too_slow"
        # Nothing is owed to whoever has asked for nothing.
        assert {read_all(head) for head in heads} == {b""}
    seconds.sort()
    assert seconds[int(len(seconds) * 0.95)] < 0.5, seconds[-20:]


@pytest.mark.parametrize("closes", [False, True])
def test_answers_without_a_body_send_their_head(api: RunningApi, closes: bool) -> None:
    """Heads wait for the first of their bodies; those that have none must not wait for ever."""
    with api.http() as http:
        path = f"/v1/jobs/{api.enter()}"
        etag = http.get(path).headers["ETag"]
    headers = ["Connection: close"] if closes else []
    with api.connect() as connection:
        connection.sendall(api.head(f"HEAD {path}", headers))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    with api.connect() as connection:
        connection.sendall(api.head(f"GET {path}", [*headers, f"If-None-Match: {etag}"]))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 304 ")


def test_a_body_that_keeps_coming_is_taken(api: RunningApi) -> None:
    body = b'{"kind": "nonsense", "input": {"items": ["a"]}}'
    with api.connect() as connection:
        headers = [
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        connection.sendall(api.head("POST /v1/jobs", headers))
        step = len(body) // 3
        for start in range(0, len(body), step):
            time.sleep(BODY_SILENCE_SECONDS / 3)
            connection.sendall(body[start : start + step])
        assert status_of(read_all(connection)) == 422


def test_an_upload_that_breaks_off_is_no_file(api: RunningApi) -> None:
    with api.http() as http:
        before = http.get("/v1/files").json()["data"]
        with api.connect() as connection:
            connection.sendall(
                api.head("POST /v1/files?filename=a.jsonl", ["Content-Length: 1000"])
            )
            connection.sendall(b'{"text": "a"}\n')
            connection.shutdown(socket.SHUT_WR)
            assert status_of(read_all(connection)) == 400
        assert http.get("/v1/files").json()["data"] == before


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (["Content-Length: 3", "Content-Length: 4"], b"abc"),
        (["Content-Length: 3", "Content-Length: 3"], b"abc"),
        (["Content-Length: 3, 3"], b"abc"),
        (["Content-Length: +3"], b"abc"),
        (["Content-Length: -1"], b""),
        (["Content-Length: 0x3"], b"abc"),
        (["Content-Length: 3", CHUNKED], b"0\r\n\r\n"),
        ([CHUNKED, "Content-Length: 3"], b"0\r\n\r\n"),
        (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
        (["Transfer-Encoding: xchunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding : chunked"], b"0\r\n\r\n"),
        ([" Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        (["Transfer-Encoding:\x0bchunked"], b"0\r\n\r\n"),
        ([CHUNKED, CHUNKED], b"0\r\n\r\n"),
        (["Host: b"], b""),
        (["X: a\r\n b"], b""),
        (["X: a\nY: b"], b""),
        (["X\0: a"], b""),
        (["X: a\0"], b""),
        (["no colon"], b""),
        ([": nameless"], b""),
        (["X: " + "a" * 9_000], b""),
        ([f"X-{number}: a" for number in range(200)], b""),
        (["Expect: 200-maybe"], b""),
    ],
)
def test_ambiguous_and_oversized_heads_are_refused(
    api: RunningApi, headers: list[str], body: bytes
) -> None:
    smuggled = b"GET /v1/workers HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = ask(api, api.head("POST /v1/jobs", headers) + body + smuggled)
    # One answer, a refusal, and the connection is closed: what follows is not taken for another request.
    assert status_of(answer) in (400, 417, 431, 501), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"application/problem+json" in answer
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (document["status"], document["code"]) == (status_of(answer), "malformed_request")


@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/jobs HTTP/3.0",
        "GET /v1/jobs",
        "GET  /v1/jobs",
        "get /v1/jobs",
        "GET v1/jobs",
        "GET /v1/jobs?a=\x01",
        "GET /" + "a" * 9_000,
    ],
)
def test_broken_request_lines_are_refused(api: RunningApi, line: str) -> None:
    version = "" if line.count(" ") > 1 and "HTTP" in line else " HTTP/1.1"
    version = "" if line == "GET /v1/jobs" else version
    answer = ask(api, f"{line}{version}\r\nHost: a\r\n\r\n".encode("latin-1"))
    assert status_of(answer) in (400, 414), answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "chunks", [b"zz\r\nabc\r\n", b"3\r\nabcX\r\n", b"3;\0\r\nabc\r\n0\r\n\r\n", b"-1\r\n"]
)
def test_broken_chunks_are_refused(api: RunningApi, chunks: bytes) -> None:
    head = api.head("POST /v1/jobs", ["Content-Type: application/json", CHUNKED])
    answer = ask(api, head + chunks + b"GET /v1/workers HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_refused_body_that_drips_on_is_not_waited_for(api: RunningApi) -> None:
    """Without a key nobody may hold a connection by sending a byte now and then."""
    with api.connect() as connection:
        connection.sendall(api.head("POST /v1/files", ["Content-Length: 1000000"], key=False))
        begun = time.monotonic()
        answer = b""
        connection.settimeout(0.5)
        while not answer and time.monotonic() < begun + 30:
            with contextlib.suppress(TimeoutError):
                connection.sendall(b"a")
                answer = connection.recv(1 << 16)
        assert status_of(answer) == 401
        assert time.monotonic() - begun < 20


def test_a_stop_ends_what_runs_and_answers_who_waits(start_api: Starter) -> None:
    api = start_api(TEXTMILL_API_PROCESSES="2", TEXTMILL_API_BODY_SILENCE_SECONDS="60")
    job_id = api.enter()
    body = b'{"kind": "nonsense", "input": {"items": ["a"]}}'
    etag = f'"{api.ledger.jobs.get(TENANT, job_id).version}-validating"'
    with contextlib.ExitStack() as stack:
        upload, idle, *waits = [stack.enter_context(api.connect()) for _ in range(10)]
        for wait in waits:
            wait.sendall(api.head(f"GET /v1/jobs/{job_id}?wait=30", [f"If-None-Match: {etag}"]))
        length = f"Content-Length: {len(body)}"
        upload.sendall(api.head("POST /v1/jobs", ["Content-Type: application/json", length]))
        idle.sendall(api.head("GET /v1/jobs"))
        assert status_of(idle.recv(1 << 16)) == 200
        wait_for(lambda: api.waiting() == len(waits), 20)
        time.sleep(0.5)  # nothing tells that the upload's head was read
        api.process.terminate()
        begun = time.monotonic()
        assert [status_of(read_all(one)) for one in waits] == [304] * len(waits)
        assert time.monotonic() - begun < 10  # of 30
        upload.sendall(body)
        assert status_of(read_all(upload)) == 422
    assert api.process.wait(30) == 0, api.log.read_text()


# --- TLS and proxies -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this host, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-keyout", str(key), "-out", str(cert), *subject],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_tls_and_trusted_proxies(start_api: Starter, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    api = start_api(
        TEXTMILL_TLS_CERTFILE=str(cert),
        TEXTMILL_TLS_KEYFILE=str(key),
        TEXTMILL_TRUSTED_PROXIES="127.0.0.1",
    )
    with httpx.Client(
        base_url=api.url, verify=ssl.create_default_context(cafile=cert), trust_env=False
    ) as http:
        assert http.get("/readyz").status_code == 200
        # This host may read it, and so may not whoever calls through its proxy.
        assert http.get("/metrics").status_code == 200
        for forwarded in ("203.0.113.9", "127.0.0.1, 203.0.113.9", "127.0.0.1"):
            passed = http.get("/metrics", headers={"X-Forwarded-For": forwarded})
            assert passed.status_code == 403, forwarded
    # Neither plain HTTP nor a handshake that never comes holds up anybody.
    with api.connect() as plain, api.connect() as silent:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not read_all(plain).startswith(b"HTTP/1.1 2")
        assert read_all(silent) == b""
    assert "Traceback" not in api.log.read_text()


def test_metrics(api: RunningApi, start_api: Starter) -> None:
    with api.http() as http:
        api.enter()
        for _ in range(20):
            assert http.get("/v1/jobs").status_code == 200
        # Whichever process answers tells of all.
        counter = 'requests_total{method="GET",route="/v1/jobs",status="200"} '
        for _ in range(10):
            with api.http() as other:
                text = other.get("/metrics").text
                assert float(text.partition(counter)[2].partition("\n")[0]) >= 20
        assert 'textmill_jobs{status="validating"}' in text
        assert "textmill_redis_memory_share" in text
        assert "default" not in text
        assert http.get("/metrics", headers={"Via": "1.1 proxy"}).status_code == 403
    guarded = start_api(TEXTMILL_METRICS_TOKEN="s3cret-token")
    with httpx.Client(base_url=guarded.url, trust_env=False) as http:
        assert http.get("/metrics").status_code == 401
        assert http.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert (
            http.get("/metrics", headers={"Authorization": "Bearer s3cret-token"}).status_code
            == 200
        )
