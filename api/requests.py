"""Reading requests strictly: bodies with a limit, queries without unknown parameters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from flask import request
from pydantic import BaseModel

from jobs.errors import InvalidRequest, MalformedBody, TooLarge, UnsupportedMedia
from jobs.params import validate

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")


def json_body(model: type[Model], limit: int) -> Model:
    """The request's JSON body as a model.

    Raises:
        UnsupportedMedia: it says that it is something else than JSON.
        TooLarge: it is larger than ``limit`` bytes.
        MalformedBody: it is not JSON.
        InvalidRequest: it does not fit the model.
    """
    if request.mimetype not in ("application/json", ""):
        raise UnsupportedMedia(f"expected application/json, found {request.mimetype}")
    if request.content_encoding not in (None, "identity"):
        raise UnsupportedMedia("compressed bodies are not taken here; send plain JSON")
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"the body has {request.content_length} bytes, the limit is {limit}")
    data = request.stream.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"the body is larger than the limit of {limit} bytes")
    if not data.strip():
        raise MalformedBody("the body is empty; expected a JSON object")
    return validate(model, data)


def no_query(*known: str) -> None:
    """Refuse query parameters that this call does not know, or that came twice: nothing is ignored silently."""
    for name, values in request.args.lists():
        if name not in known:
            expected = ", ".join(known) or "none"
            raise InvalidRequest.of(name, f"unknown query parameter; known: {expected}")
        if len(values) > 1:
            raise InvalidRequest.of(name, "expected once", ", ".join(values))


def query(name: str, parse: Callable[[str], Value], expected: str) -> Value | None:
    """A query parameter, parsed; None when it is absent.

    Raises:
        InvalidRequest: it does not parse.
    """
    value = request.args.get(name)
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError:
        raise InvalidRequest.of(name, f"expected {expected}", value) from None


def boolean(text: str) -> bool:
    """``true`` or ``false``."""
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def idempotency_key() -> str | None:
    """The request's ``Idempotency-Key``, if it has one.

    Raises:
        InvalidRequest: it has a form that is not taken.
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        raise InvalidRequest.of(
            "header:Idempotency-Key",
            "expected 1 to 255 printable ASCII characters without spaces",
            key,
        )
    return key


def between(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers within bounds."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high):
            raise ValueError(text)
        return int(text)

    return parse


def page_limit() -> int:
    """The ``limit`` of a listing."""
    return query("limit", between(1, 100), "a whole number from 1 to 100") or 20
