"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from jobs.errors import JobFailure, TextmillError

log = structlog.get_logger(__name__)

#: Base of every problem's ``type``; the rest is a code that ``docs/errors.md`` explains.
TYPE_BASE = "urn:textmill:error:"

#: Code and title for what the framework refuses by itself, by status.
HTTP_PROBLEMS: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "Bad request"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "Method not allowed"),
    408: ("timed_out", "Request timed out"),
    411: ("length_required", "Length required"),
    413: ("too_large", "Body too large"),
    415: ("unsupported_media_type", "Unsupported media type"),
    416: ("range_not_satisfiable", "Range not satisfiable"),
    500: ("internal_error", "Internal error"),
    503: ("unavailable", "Temporarily unavailable"),
}


def problem(
    status: int, code: str, title: str, detail: str, errors: list[dict[str, Any]] | None = None
) -> Response:
    """A problem document as a response."""
    document = {
        "type": TYPE_BASE + code,
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "errors": errors or [],
        "request_id": g.get("request_id"),
    }
    return Response(orjson.dumps(document), status=status, content_type="application/problem+json")


def _from_error(error: TextmillError) -> Response:
    fields = [asdict(field) for field in error.fields]
    code = error.failure_code if isinstance(error, JobFailure) else error.code
    response = problem(error.status, code, error.title, error.detail, fields)
    response.headers.update(error.headers)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="textmill"'
    return response


def _from_http(error: HTTPException) -> Response:
    """What Flask or Werkzeug refused; a status that they are not known to use is one of two that are documented."""
    found = error.code or 500
    status = found if found in HTTP_PROBLEMS else 400 if 400 <= found < 500 else 500
    code, title = HTTP_PROBLEMS[status]
    response = problem(status, code, title, error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _from_bug(error: Exception) -> Response:
    log.error("request failed", path=request.path, exc_info=error)
    return problem(
        500,
        "internal_error",
        "Internal error",
        "Something went wrong on the server; its log has more under this request_id.",
    )


def register(app: Flask) -> None:
    """Answer every error of this application with a problem document."""
    app.register_error_handler(TextmillError, _from_error)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(Exception, _from_bug)
