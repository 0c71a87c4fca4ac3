"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from jobs.errors import TextmillError

log = structlog.get_logger(__name__)

#: Base of every problem's ``type``; the rest is a code that ``docs/errors.md`` explains.
TYPE_BASE = "urn:textmill:error:"


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
    response = problem(error.status, error.code, error.title, error.detail, fields)
    response.headers.update(error.headers)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="textmill"'
    return response


def _from_http(error: HTTPException) -> Response:
    status = error.code or 500
    code = error.name.lower().replace(" ", "_")
    response = problem(status, code, error.name, error.description or error.name)
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
