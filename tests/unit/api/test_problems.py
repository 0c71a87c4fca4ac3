"""Whatever is refused is a problem document, with a request id that the log has too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from flask import Flask, Response
from structlog.testing import LogCapture
from werkzeug.exceptions import HTTPException, default_exceptions
from werkzeug.test import TestResponse

from api.problems import HTTP_PROBLEMS
from jobs.errors import JobFailure, Unauthenticated, Unavailable
from tests.unit.api.applications import application

RAISED: dict[str, Exception] = {
    "bug": ZeroDivisionError("a secret"),
    "failure": JobFailure("invalid_params", "no", field="params.x"),
    "away": Unavailable("Redis is away", retry_after=7),
    "nobody": Unauthenticated("who?"),
}


@pytest.fixture(scope="module")
def app() -> Flask:
    app = application()

    @app.get("/raise/<what>")
    def fail(what: str) -> Response:
        structlog.get_logger().info("a line of the view")
        raise RAISED[what]

    @app.get("/http/<int:status>")
    def refuse(status: int) -> Response:
        raise default_exceptions[status]

    @app.get("/quiet")
    def quiet() -> Response:
        return Response("ok")

    return app


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What is logged meanwhile, with what every line carries."""
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture.entries
    structlog.configure(**before)


def checked(reply: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert reply.status_code == status
    assert reply.content_type == "application/problem+json"
    document: dict[str, Any] = json.loads(reply.data)
    assert document["type"] == f"urn:textmill:error:{code}"
    assert (document["code"], document["status"]) == (code, status)
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == reply.headers["X-Request-Id"]
    return document


@pytest.mark.parametrize("status", sorted(default_exceptions))
def test_the_frameworks_own_refusals_have_documented_codes(app: Flask, status: int) -> None:
    expected = status if status in HTTP_PROBLEMS else 400 if status < 500 else 500
    checked(app.test_client().get(f"/http/{status}"), expected, HTTP_PROBLEMS[expected][0])
    assert issubclass(default_exceptions[status], HTTPException)


def test_a_bug_tells_nothing_but_the_request_id(app: Flask, logged: list[Any]) -> None:
    reply = app.test_client().get("/raise/bug", headers={"X-Request-Id": "mine:1"})
    document = checked(reply, 500, "internal_error")
    assert "secret" not in reply.text
    assert document["request_id"] == "mine:1"
    assert [line["request_id"] for line in logged] == ["mine:1", "mine:1"]


def test_a_request_id_is_no_other_requests(app: Flask, logged: list[Any]) -> None:
    client = app.test_client()
    client.get("/raise/away", headers={"X-Request-Id": "first"})
    client.get("/raise/away")
    one, other = (line["request_id"] for line in logged)
    assert one == "first" != other


@pytest.mark.parametrize("given", ["", "a" * 129, "two words", "ü", "<b>", "a;b", "%0a"])
def test_a_request_id_that_no_log_should_hold_is_replaced(app: Flask, given: str) -> None:
    reply = app.test_client().get("/quiet", headers={"X-Request-Id": given.encode("latin-1")})
    assert reply.headers["X-Request-Id"] != given
    assert re.fullmatch(r"[0-9a-f]{16}-[0-9]+", reply.headers["X-Request-Id"])


def test_an_error_keeps_what_it_says(app: Flask) -> None:
    client = app.test_client()
    document = checked(client.get("/raise/failure"), 422, "invalid_params")
    assert document["errors"] == [{"field": "params.x", "reason": "no", "value": None}]
    assert client.get("/raise/away").headers["Retry-After"] == "7"
    assert client.get("/raise/nobody").headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/jobs", "//v1//jobs", "/v1/jobs/a/b/c", "/docs/../v1", "/openapi.jso"]
)
def test_nothing_is_there(app: Flask, method: str, path: str) -> None:
    checked(app.test_client().open(path, method=method), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/jobs", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("PATCH", "/v1/jobs", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/openapi.json", {"GET", "HEAD", "OPTIONS"}),
        ("NONSENSE", "/docs", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_is_not_there(app: Flask, method: str, path: str, allowed: set[str]) -> None:
    reply = app.test_client().open(path, method=method)
    checked(reply, 405, "method_not_allowed")
    assert set(reply.headers["Allow"].split(", ")) == allowed


def test_head_is_answered_as_get_is_but_for_the_body(app: Flask) -> None:
    client = app.test_client()
    for path, status in (("/healthz", 200), ("/v1/jobs", 401), ("/nothing", 404)):
        got, headed = client.get(path), client.head(path)
        assert (got.status_code, headed.status_code) == (status, status)
        assert headed.content_type == got.content_type
        assert headed.data == b""


def test_options_says_what_is_allowed(app: Flask) -> None:
    reply = app.test_client().options("/healthz")
    assert (reply.status_code, reply.data) == (200, b"")
    assert set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    checked(app.test_client().options("/v1/jobs"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "query", ["%ff", "a=%ff", "%c3%28=1", "a=%ED%A0%80", "a%00=1", "a=%00", "a=1", "a", "=", "%3d"]
)
def test_a_query_that_is_no_text_or_unknown(app: Flask, query: str) -> None:
    reply = app.test_client().get(f"/healthz?{query}")
    checked(reply, 422, "invalid_request")
