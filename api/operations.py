"""What each route declares of itself: who may call it, what it takes and what it answers.

One declaration serves three: the checks before a route runs, the OpenAPI document, and the tests that hold answers to
it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from flask import Response
from pydantic import BaseModel

from api.bodies import json_body
from api.requests import Query, has_body, no_query, parsed_query
from api.services import caller, services
from jobs.errors import Forbidden
from jobs.scopes import Scope

View = Callable[..., Response]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A successful answer of a route."""

    description: str
    #: What its JSON holds; None: no JSON.
    model: type[BaseModel] | None = None
    #: Other types of content that it may have, with their schemas.
    media: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Its own headers, with what they hold.
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HeaderField:
    """A request header that means something to a route."""

    name: str
    description: str
    example: str
    pattern: str | None = None
    required: bool = False


IDEMPOTENCY_KEY = HeaderField(
    name="Idempotency-Key",
    description="Names this request: sent again with the same key and body it does nothing again and is answered "
    "likewise; with another body it is refused.",
    example="nightly-2026-11-02",
    pattern=r"^[\x21-\x7e]{1,255}$",
)
IF_NONE_MATCH = HeaderField(
    name="If-None-Match",
    description="ETags of earlier answers, or `*`: 304 while what is there is one of them.",
    example='"17"',
)
RANGE = HeaderField(
    name="Range",
    description="One range of bytes, to go on where a download broke.",
    example="bytes=1048576-",
)
IF_RANGE = HeaderField(
    name="If-Range",
    description="The ETag that the range belongs to; of something else the whole is sent.",
    example='"9f86d081884c7d65"',
)


#: Headers of an answer that may be asked for conditionally, and what it is while nothing has changed.
TAGGED = {"ETag": "Changes with the content; for `If-None-Match`."}
NOT_MODIFIED = Answer(description="It has not changed.", headers=TAGGED)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """All that a route declares."""

    name: str  #: unique; generated clients make their functions' names of it
    tag: str
    answers: Mapping[int, Answer]
    scope: Scope | None = None  #: None: no key is asked for
    query: type[Query] | None = None
    body: type[BaseModel] | None = None
    body_required: bool = True  #: where not, a request without one is taken as one of defaults
    #: Content types of a body that is not JSON, with their schemas.
    media: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    headers: Sequence[HeaderField] = ()
    #: Statuses of problem documents beside those that follow from the rest.
    problems: Sequence[int] = ()


def operation(
    *,
    name: str,
    tag: str,
    answers: Mapping[int, Answer],
    scope: Scope | None = None,
    query: type[Query] | None = None,
    body: type[BaseModel] | None = None,
    body_required: bool = True,
    media: Mapping[str, Mapping[str, Any]] | None = None,
    headers: Sequence[HeaderField] = (),
    problems: Sequence[int] = (),
) -> Callable[[View], View]:
    """Declare a route; before it runs, check the key's scope, the query and the body.

    The view gets ``query`` and ``body`` as keyword arguments where they are declared. Its docstring's first line is the
    summary, the rest the description.

    The wrapped view raises, beside its own errors:
        Forbidden: the key lacks the scope.
        InvalidRequest: the query or the body does not fit.
        MalformedBody, TooLarge, UnsupportedMedia: the body is no JSON that is taken.
    """
    declared = Operation(
        name=name,
        tag=tag,
        answers=answers,
        scope=scope,
        query=query,
        body=body,
        body_required=body_required,
        media=media or {},
        headers=headers,
        problems=problems,
    )

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def checked(**given: Any) -> Response:
            if scope is not None and scope not in caller().scopes:
                raise Forbidden(f"the API key lacks the scope {scope}")
            if query is None:
                no_query()
            else:
                given["query"] = parsed_query(query)
            if body is not None:
                limit = services().settings.max_request_bytes
                given["body"] = json_body(body, limit) if body_required or has_body() else body()
            return view(**given)

        checked.operation = declared  # type: ignore[attr-defined]
        return checked

    return decorate


def declared(view: object) -> Operation | None:
    """What a view declares, or None for one that is no part of the API."""
    return cast("Operation | None", getattr(view, "operation", None))
