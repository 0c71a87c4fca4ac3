"""What an error says, to people and to programs, and that it travels between processes."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from textmill import (
    ApiError,
    ConnectionFailed,
    FieldError,
    InvalidRequest,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from textmill.problem import to_error


def document(status: int, code: str, detail: str, **more: Any) -> bytes:
    return json.dumps({"status": status, "code": code, "detail": detail, **more}).encode()


def test_it_reads_well() -> None:
    wrong = [
        {"field": "params.top_k", "reason": "expected at least 1", "value": "0"},
        {"field": "model", "reason": "no such model", "shiny": 1},
        "nonsense",
    ]
    body = document(422, "invalid_request", "2 fields are wrong", errors=wrong, request_id="req_1")
    error = to_error(422, {}, body)
    assert isinstance(error, InvalidRequest)
    assert str(error) == (
        "2 fields are wrong (422 invalid_request)\n"
        "  params.top_k: expected at least 1 (found 0)\n"
        "  model: no such model"
    )
    assert error.errors[1] == FieldError(field="model", reason="no such model")
    assert error.request_id == "req_1"


def test_one_wrong_field_is_not_said_twice() -> None:
    wrong = [{"field": "model", "reason": "no such model", "value": None}]
    body = document(422, "unknown_model", "model: no such model", errors=wrong)
    assert str(to_error(422, {}, body)).count("no such model") == 1


def test_a_fault_of_the_server_names_the_request() -> None:
    error = to_error(500, {"X-Request-Id": "req_7"}, document(500, "internal_error", "broken"))
    assert "request req_7" in str(error)
    assert "its log" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "code", "says"),
    [
        (401, Unauthenticated, "unauthenticated", "textmill doctor"),
        (403, ApiError, "forbidden", "scope"),
        (404, ApiError, "not_found", "Check the id"),
        (413, InvalidRequest, "too_large", "path"),
        (429, RateLimited, "quota_exceeded", "Try again in 3,600 s"),
        (503, Unavailable, "unavailable", "Try again in 3,600 s"),
        (418, ApiError, "teapot", ""),
    ],
)
def test_it_says_what_to_do(status: int, kind: type[ApiError], code: str, says: str) -> None:
    error = to_error(status, {"Retry-After": "3600"}, document(status, code, "no"))
    assert isinstance(error, kind)
    assert (error.code, error.detail) == (code, "no")
    assert says in (error.hint or "")
    assert str(error).endswith(error.hint or "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b'{"code": 5, "detail": [], "errors": {}}',
        b"<html>",
    ],
)
def test_no_body_is_too_strange(body: bytes) -> None:
    error = to_error(502, {"Content-Type": "text/html"}, body)
    assert isinstance(error, Unavailable)
    assert (error.code, error.errors) == ("http_502", ())
    assert "502 Bad Gateway" in error.detail


def test_it_travels_between_processes() -> None:
    wrong = [{"field": "a", "reason": "b"}]
    for error in (
        to_error(422, {"Retry-After": "2"}, document(422, "c", "d", errors=wrong)),
        ConnectionFailed("gone", hint="look", lasting=True),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), vars(again)) == (str(error), vars(error))
