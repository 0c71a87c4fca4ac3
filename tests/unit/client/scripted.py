"""A small real HTTP server that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

MAX_KEPT_BODY = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  #: names in lower case
    body: bytes  #: its first MiB
    body_bytes: int
    largest_read: int  #: most bytes that arrived as one chunk of a chunked body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None  #: close the connection after so many bytes of the body
    chunked: bool = False  #: without a Content-Length
    raw: bytes | None = None  #: send these bytes instead of an answer, and close the connection
    after: float = 0.0  #: seconds until it begins
    pace: float = 0.0  #: seconds between two bytes of the body


Handler = Callable[[Request], Answer]


def reply(value: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON answer; ``_`` in a header's name stands for ``-``."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(
        status=status,
        body=json.dumps(value).encode(),
        headers={"Content-Type": "application/json", **named},
    )


def problem(status: int, code: str, detail: str, **more: Any) -> Answer:
    """A problem document, as the API sends it."""
    headers = more.pop("headers", {})
    document = {
        "type": f"https://textmill.example/errors/{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [],
        "request_id": "req_1",
        **more,
    }
    return Answer(
        status=status,
        body=json.dumps(document).encode(),
        headers={"Content-Type": "application/problem+json", **headers},
    )


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are what some tests are about; anything else is a fault of the test."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class ScriptedServer:
    """Answers each route with its script: one answer after another, the last one for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._routes: dict[tuple[str, str], list[Answer | Handler]] = {}
        self._lock = threading.Lock()
        owner = self

        class Connection(_Connection):
            server_owner = owner

        self._http = _QuietServer(("127.0.0.1", 0), Connection)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def on(self, method: str, path: str, *answers: Answer | Handler) -> None:
        """Answer this method and path so."""
        with self._lock:
            self._routes[method, path] = list(answers)

    def asked(self, method: str, path: str) -> list[Request]:
        """The requests of this method and path so far."""
        with self._lock:
            return [one for one in self.requests if (one.method, one.path) == (method, path)]

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            script = self._routes.get((request.method, request.path))
            if script is None:
                return problem(404, "not_found", f"no route {request.method} {request.path}")
            step = script.pop(0) if len(script) > 1 else script[0]
        return step if isinstance(step, Answer) else step(request)

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_owner: ScriptedServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay quiet."""

    def _handle(self) -> None:
        body, total, largest = self._body()
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            body_bytes=total,
            largest_read=largest,
        )
        try:
            self._send(self.server_owner.answer(request))
        except ConnectionError:
            self.close_connection = True  # the client left early, as some tests make it do

    def _body(self) -> tuple[bytes, int, int]:
        kept = bytearray()
        total = largest = 0
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(), 16):
                chunk = self.rfile.read(size)
                self.rfile.readline()
                total, largest = total + size, max(largest, size)
                kept += chunk[: MAX_KEPT_BODY - len(kept)]
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length") or 0)
            while left:
                chunk = self.rfile.read(min(left, 1 << 16))
                if not chunk:
                    break
                left, total = left - len(chunk), total + len(chunk)
                kept += chunk[: MAX_KEPT_BODY - len(kept)]
        return bytes(kept), total, largest

    def _send(self, answer: Answer) -> None:
        time.sleep(answer.after)
        if answer.raw is not None:
            self.wfile.write(answer.raw)
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        body = answer.body if answer.cut_after is None else answer.body[: answer.cut_after]
        if answer.chunked:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body) if body else b"")
            self.wfile.write(b"0\r\n\r\n" if answer.cut_after is None else b"")
        elif answer.pace:
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(answer.pace)
        else:
            self.wfile.write(body)
        if answer.cut_after is not None:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - the base class's names


def ranged(
    content: bytes,
    *,
    etag: str | None = '"v1"',
    breaks: tuple[int, ...] = (),
    chunked: bool = False,
) -> Handler:
    """Serves ``content`` with Range; the n-th request is cut after ``breaks[n]`` bytes of its body."""
    cuts = list(breaks)

    def handle(request: Request) -> Answer:
        headers = {"Content-Type": "application/x-ndjson"} | ({"ETag": etag} if etag else {})
        cut = cuts.pop(0) if cuts else None
        wanted = request.headers.get("range")
        if wanted is None:
            return Answer(body=content, headers=headers, cut_after=cut, chunked=chunked)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            return Answer(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Answer(
            status=206, body=content[start:], headers=headers, cut_after=cut, chunked=chunked
        )

    return handle


def job(status: str = "in_progress", **changes: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    ended = status in ("completed", "failed", "expired", "cancelled")
    path = f"/v1/jobs/{JOB_ID}"
    return {
        "id": JOB_ID,
        "object": "job",
        "kind": "classify",
        "name": "nightly-tickets",
        "status": status,
        "model": {"ref": "registry:tickets@3", "engine": "torch", "precision": "bf16"},
        "priority": "normal",
        "metadata": {},
        "request_counts": {"total": 10000, "completed": 10000 if ended else 6228, "failed": 0},
        "progress": {
            "fraction": 1.0 if ended else 0.6228,
            "rows_per_second": 412.345,
            "eta_seconds": 0.0 if ended else 9.2,
        },
        "created_at": "2026-11-02T12:00:00.000Z",
        "started_at": "2026-11-02T12:00:01.000Z",
        "ended_at": "2026-11-02T12:00:25.250Z" if ended else None,
        "attempts": 1,
        "usage": {"input_tokens": 1234567, "output_tokens": 0, "device_seconds": 24.1},
        "error": None,
        "links": {
            "self": path,
            "results": f"{path}/results",
            "errors": f"{path}/errors",
            "cancel": f"{path}/cancel",
        },
        **changes,
    }


JOB_ID = "job_01k5b3w7m3v9q8z2c4x6t1n0ra"
KEY = "tm_01k5b3w7m3v9q8z2c4x6t1n0rc_secretsecretsecretsecretsecret12"
JOB = f"/v1/jobs/{JOB_ID}"
FILE_ID = "file_01k5b3w7m3v9q8z2c4x6t1n0rb"

KINDS = {
    "data": [
        {
            "name": "classify",
            "summary": "One label for each text.",
            "needs_model": True,
            "params": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "candidate_labels": {
                        "anyOf": [
                            {"type": "array", "items": {"type": "string"}},
                            {"type": "null"},
                        ],
                        "default": None,
                        "description": "Labels to choose from, for a model without its own.",
                    },
                    "top_k": {"type": "integer", "minimum": 1, "default": 1},
                    "hypothesis": {"type": "string", "default": "This text is about {}."},
                },
            },
        },
        {
            "name": "fine_tune",
            "summary": "A model trained on your rows.",
            "needs_model": True,
            "params": {"type": "object", "additionalProperties": False, "properties": {}},
        },
    ]
}
