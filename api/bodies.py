"""JSON bodies, read strictly: plain or compressed, in no more memory than the limit allows.

A body is refused as malformed where two readers of it could disagree: not UTF-8, a name that stands twice in one
object, a number that no double holds, half a surrogate pair, nesting that some parsers give up on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import orjson
from flask import request
from pydantic import BaseModel

from jobs.errors import InvalidRequest, JobFailure, MalformedBody, TooLarge, UnsupportedMedia
from jobs.intake.expansion import FREE_EXPANSION, Expansion
from jobs.intake.gunzip import gunzip
from jobs.intake.unzstd import unzstd
from jobs.params import validate

Model = TypeVar("Model", bound=BaseModel)

#: Most levels of objects and arrays in a body, the outermost one included.
MAX_DEPTH = 100

#: What ``Content-Encoding`` may name.
ENCODINGS = ("gzip", "zstd")

#: Most members or frames of a compressed body: each costs time, and may hold nothing.
_MAX_FRAMES = 1_000

#: Memory that decompression may need beside the body itself, in bytes: what RFC 9659 allows to be asked of everybody.
_WINDOW = 8 << 20

_PIECE = 64 << 10

#: Rows are judged one by one, for a bad one is an error row and no fault of the request.
_ROWS = "items"


def json_body(model: type[Model], limit: int) -> Model:
    """The request's JSON body as a model.

    Args:
        limit: most bytes of the body, both as it is sent and as it is decompressed.

    Raises:
        UnsupportedMedia: it says that it is something else than JSON, or compressed in another way.
        TooLarge: it is larger than ``limit`` bytes.
        MalformedBody: it is not JSON, or not strictly.
        InvalidRequest: it does not fit the model.
    """
    _check_type()
    data = _decoded(limit)
    if not data.strip():
        raise MalformedBody("the body is empty; expected a JSON object")
    _check_strict(data)
    return validate(model, data)


def _check_type() -> None:
    if request.mimetype not in ("application/json", ""):
        raise UnsupportedMedia(f"expected application/json, found {request.mimetype}")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise UnsupportedMedia(f"expected JSON in UTF-8, found charset={charset}")


def _decoded(limit: int) -> bytes:
    encoding = (request.content_encoding or "identity").strip().lower().removeprefix("x-")
    if encoding not in ("identity", *ENCODINGS):
        error = UnsupportedMedia(
            f"expected Content-Encoding {' or '.join(ENCODINGS)}, or none, found {encoding}"
        )
        error.headers["Accept-Encoding"] = ", ".join(ENCODINGS)
        raise error
    sent = _sent(limit)
    pieces = sent if encoding == "identity" else _expanded(sent, encoding, limit)
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > limit:
            raise TooLarge(f"the body is larger than the limit of {limit} bytes")
    return bytes(body)


def _sent(limit: int) -> Iterator[bytes]:
    """The body as it comes over the wire."""
    announced = request.content_length
    if announced is not None and announced > limit:
        raise TooLarge(f"the body has {announced} bytes, the limit is {limit}")
    count = 0
    while piece := request.stream.read(_PIECE):
        count += len(piece)
        if count > limit:
            raise TooLarge(f"the body is larger than the limit of {limit} bytes")
        yield piece


def _expanded(sent: Iterator[bytes], encoding: str, limit: int) -> Iterator[bytes]:
    # How far it may expand is bounded by the limit, which is far below what this would notice.
    expansion = Expansion(FREE_EXPANSION, what="the body")
    try:
        if encoding == "gzip":
            yield from gunzip(sent, expansion, max_members=_MAX_FRAMES)
        else:
            window = max(_WINDOW, limit)
            yield from unzstd(sent, expansion, max_window=window, max_frames=_MAX_FRAMES)
    except JobFailure as failure:
        if failure.failure_code == "input_expansion":
            raise TooLarge(failure.detail) from None
        raise MalformedBody(failure.detail) from None


def _check_strict(data: bytes) -> None:
    """Refuse what orjson and pydantic would let pass.

    Raises:
        MalformedBody: not JSON, too deep, or with a name twice in one object.
        InvalidRequest: a string outside of rows holds a NUL character.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"Invalid JSON: {error}") from None
    _check_depth(value)
    # Numbers are not looked at: turning long ones into values takes long.
    json.loads(data, object_pairs_hook=_check_names, parse_int=len, parse_float=len)
    if rb"\u0000" in data:
        _check_nul(value, "")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise MalformedBody(f"Invalid JSON: nested more than {MAX_DEPTH} levels deep")
        level = [
            child for one in level for child in (one.values() if isinstance(one, dict) else one)
        ]


def _check_names(pairs: list[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise MalformedBody(f"Invalid JSON: the name {name[:100]!r} stands twice in one object")
        names.add(name)


def _check_nul(value: Any, path: str) -> None:
    if isinstance(value, str) and "\0" in value:
        raise InvalidRequest.of(path or "body", "a NUL character is not allowed", value)
    if isinstance(value, list):
        for number, one in enumerate(value):
            _check_nul(one, f"{path}.{number}".lstrip("."))
    elif isinstance(value, dict):
        for name, one in value.items():
            if "\0" in name:
                raise InvalidRequest.of(
                    path or "body", "a name with a NUL character is not allowed", name
                )
            if name != _ROWS:
                _check_nul(one, f"{path}.{name}".lstrip("."))
