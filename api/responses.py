"""Responses in JSON, and streams that may be read by ranges."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import orjson
from flask import Response, request
from werkzeug.http import parse_range_header

from api.conditional import has_current, not_modified
from jobs.errors import InvalidRequest

#: A range in bytes; one in other units is to be ignored.
_UNIT = re.compile(r"\s*bytes\s*=", re.IGNORECASE)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(
        orjson.dumps(value), status=status, headers=headers, content_type="application/json"
    )


def page_response(items: list[dict[str, Any]], has_more: bool, key: str = "id") -> Response:
    """One page of a listing; the next one follows the last item's ``key``."""
    last = items[-1][key] if items and has_more else None
    return json_response({"data": items, "has_more": has_more, "next_after": last})


def begun(body: Iterator[bytes]) -> Iterator[bytes]:
    """A body whose first piece is there: what keeps it from coming at all is still a problem document then."""
    first = next(body, b"")
    return chain([first], body) if first else iter(())


def paced(pieces: Iterator[bytes], most: int | None = None) -> Iterator[bytes]:
    """The same bytes, in pieces of at most ``most``, with room for other requests after each.

    All requests of a process share one thread: one whose input and output are always ready would not let go by itself.
    """
    for piece in pieces:
        for start in range(0, len(piece), most or len(piece) or 1):
            yield piece if most is None else piece[start : start + most]
            time.sleep(0)


def ranged(
    read: Callable[[int, int], Iterator[bytes]],
    *,
    size: int,
    etag: str,
    content_type: str,
    filename: str,
) -> Response:
    """A stream of known size, whole or the one range of bytes that was asked for; 304 to who has it already.

    Conditions and ranges are RFC 9110's (13.2.2, 14.2): the ETag is looked at first, a range means nothing to HEAD
    and nothing in units that are not bytes. Of several ranges none is sent.

    Args:
        read: gives the bytes from an offset on, so many of them.
        size: of the whole, in bytes.
        etag: of the whole, without quotes.
        content_type: of the whole.
        filename: under which a browser would save it.

    Raises:
        InvalidRequest: the range cannot be satisfied (then as 416).
    """
    if request.if_none_match.contains_weak(etag):
        return Response(status=304, headers={"ETag": f'"{etag}"'})
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{etag}"',
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    if has_current(etag):
        return not_modified(etag)
    start, stop, status = 0, size, 200
    asked = request.headers.get("Range", "")
    same = request.headers.get("If-Range") in (None, f'"{etag}"')
    if request.method == "GET" and _UNIT.match(asked) and same:
        parsed = parse_range_header(asked)
        found = parsed.range_for_length(size) if parsed is not None else None
        if found is None:
            raise _Unsatisfiable(size)
        start, stop = found
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    body: Iterator[bytes] = iter(())
    if stop > start and request.method != "HEAD":
        body = begun(read(start, stop - start))
    return Response(body, status=status, headers=headers, content_type=content_type)


def redirect(url: str) -> Response:
    """Send the client to where the bytes lie, for the same method."""
    return Response(status=307, headers={"Location": url})


class _Unsatisfiable(InvalidRequest):
    """The range lies outside of what there is."""

    code, status, title = "range_not_satisfiable", 416, "Range not satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"expected one range of bytes within 0-{max(0, size - 1)}")
        self.headers = {"Content-Range": f"bytes */{size}"}
