"""Reading queries and headers strictly: nothing unknown, nothing twice, nothing that is not text."""

from __future__ import annotations

import functools
import re
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import unquote_to_bytes

from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from jobs.errors import InvalidRequest
from jobs.params import invalid

QueryModel = TypeVar("QueryModel", bound="Query")


class Query(BaseModel):
    """Parameters behind the ``?`` of a call. What is not declared is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _whole_number(value: Any) -> Any:
    # int() takes more than people mean: signs, blanks, underscores and other scripts' digits.
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,12}", value):
        raise ValueError("expected a whole number")
    return value


def _flag(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("expected true or false")
        return value == "true"
    return value


WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Flag = Annotated[bool, BeforeValidator(_flag)]


class PageQuery(Query):
    """Which page of a listing."""

    after: str | None = Field(
        default=None,
        max_length=200,
        description="`next_after` of the page before.",
        examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra"],
    )
    limit: WholeNumber = Field(default=20, ge=1, le=100, description="Most items of the page.")


def parsed_query(model: type[QueryModel]) -> QueryModel:
    """The request's query as a model.

    Raises:
        InvalidRequest: a parameter is unknown, came twice or does not fit.
    """
    if not request.query_string:
        return cast(QueryModel, _defaults(model))
    no_query(*(one.alias or name for name, one in model.model_fields.items()))
    try:
        return model.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise invalid(error) from None


@functools.cache
def _defaults(model: type[Query]) -> Query:
    """A model of no parameters at all; it is frozen, so one does for all calls."""
    try:
        return model.model_validate({})
    except ValidationError as error:
        raise invalid(error) from None


def has_body() -> bool:
    """Whether the request announces a body."""
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def no_query(*known: str) -> None:
    """Refuse query parameters that this call does not know, or that came twice: nothing is ignored silently.

    Raises:
        InvalidRequest: there is such a one, or the query is not UTF-8 or holds a NUL character.
    """
    if not request.query_string:
        return
    try:
        unquote_to_bytes(request.query_string).decode()
    except UnicodeDecodeError:
        raise InvalidRequest.of("query", "expected UTF-8, percent-encoded") from None
    for name, values in request.args.lists():
        if name not in known:
            expected = ", ".join(known) or "none"
            raise InvalidRequest.of(name, f"unknown query parameter; known: {expected}")
        if len(values) > 1:
            raise InvalidRequest.of(name, "expected once", ", ".join(values))
        if "\0" in values[0]:
            raise InvalidRequest.of(name, "a NUL character is not allowed", values[0])


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
