"""Reading requests strictly: bodies with a limit, queries without unknown parameters."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from jobs.errors import InvalidRequest, MalformedBody, TooLarge, UnsupportedMedia
from jobs.params import invalid, validate

Model = TypeVar("Model", bound=BaseModel)
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
    )
    limit: WholeNumber = Field(default=20, ge=1, le=100, description="Most items of the page.")


def parsed_query(model: type[QueryModel]) -> QueryModel:
    """The request's query as a model.

    Raises:
        InvalidRequest: a parameter is unknown, came twice or does not fit.
    """
    no_query(*model.model_fields)
    try:
        return model.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise invalid(error) from None


def has_body() -> bool:
    """Whether the request announces a body."""
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


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
