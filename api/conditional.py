"""Conditional requests (RFC 9110, section 13): what a caller has already is not sent again."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from flask import Response, request


def tagged(value: Any) -> Response:
    """A JSON answer whose ETag is a hash of it, or 304 where the caller has the same."""
    data = orjson.dumps(value)
    response = Response(data, content_type="application/json")
    response.set_etag(hashlib.sha256(data).hexdigest()[:32])
    response.make_conditional(request)
    return response


def asked() -> bool:
    """Whether the caller has something: ``If-None-Match`` names at least one ETag."""
    return bool(request.if_none_match)


def has_current(etag: str) -> bool:
    """Whether ``If-None-Match`` names this ETag (without quotes), by itself, in a list, weakly or as ``*``."""
    # Most calls have no such header; taking an empty one apart costs as much as all else that shows a job.
    return "If-None-Match" in request.headers and request.if_none_match.contains_weak(etag)


def not_modified(etag: str) -> Response:
    """The answer to a caller that has it already."""
    return Response(status=304, headers={"ETag": f'"{etag}"'})
