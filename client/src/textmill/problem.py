"""From an HTTP error answer to an exception. Pure: takes status, headers and body, opens nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from textmill.errors import ApiError, FieldError, error_class
from textmill.retry import parse_retry_after

#: Bytes of an error's body that are looked at.
MAX_ERROR_BYTES = 64 << 10


def to_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The exception for an answer that is not a success.

    Understands problem documents (RFC 9457); anything else, such as a proxy's HTML page, still gives a readable
    error with the code ``http_<status>``.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    document = _json_object(body)
    code = _text(document.get("code"))
    retry_after = parse_retry_after(lower.get("retry-after"), date=lower.get("date"))
    return error_class(status)(
        _detail(status, lower, document, body),
        status=status,
        code=code or f"http_{status}",
        errors=_field_errors(document.get("errors")),
        request_id=_text(document.get("request_id")) or lower.get("x-request-id"),
        retry_after=retry_after,
        raw=document,
        headers=lower,
        hint=_hint(status, code, retry_after),
    )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _detail(
    status: int, headers: Mapping[str, str], document: Mapping[str, Any], body: bytes
) -> str:
    said = _text(document.get("detail")) or _text(document.get("title"))
    if said:
        return said
    if 300 <= status < 400:
        return f"the server redirects to {headers.get('location', 'another address')}; use that URL"
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "unknown status"
    detail = f"the server answered {status} {phrase}"
    if headers.get("content-type", "").startswith("text/plain"):
        text = " ".join(body[:400].decode("utf-8", "replace").split())
        detail += f": {text}" if text else ""
    return detail


def _hint(status: int, code: str | None, retry_after: float | None) -> str | None:
    """What to do about an error, where that can be told without knowing more."""
    if code in _HINTS:
        return _HINTS[code]
    if retry_after and status in (429, 503):
        return f"Try again in {math.ceil(retry_after):,} s."
    return _HINTS_BY_STATUS.get(status)


_HINTS = {
    "unknown_model": "`textmill models list` shows what the registry has; others begin with hf:, s3:// or pkg:.",
    "internal_error": "That is a fault of the server: its log has more under the request's id.",
    "malformed_body": "Client and server may be of different versions: `textmill --version`.",
}

_HINTS_BY_STATUS = {
    401: "Check the API key: `textmill doctor` shows which one is used and where it comes from.",
    403: "This API key may not do that: use one with the scope for it.",
    404: "Check the id: what is deleted, or another tenant's, is not found either.",
    405: "Client and server may be of different versions: `textmill --version`.",
    413: "Give a path instead of a list of rows: files may be much larger than a request.",
    429: "Make fewer calls at once, or try again later.",
    502: "A proxy answered for a server that it cannot reach: try again in a moment.",
    503: "Nothing was changed: try again in a moment.",
    504: "A proxy gave up waiting for the server: try again in a moment.",
}


def _field_errors(value: Any) -> tuple[FieldError, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        FieldError(
            field=str(item.get("field", "")),
            reason=str(item.get("reason", "")),
            value=None if item.get("value") is None else str(item["value"]),
        )
        for item in value
        if isinstance(item, dict)
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
