"""One call of the API as a value: built by pure functions, sent by a transport."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from textmill.errors import ApiError, InputError

T = TypeVar("T")

#: Methods that may be repeated without harm (RFC 9110, 9.2.2).
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, kw_only=True)
class Call:
    """What to ask of the server."""

    method: str
    path: str  #: below the base URL, already quoted
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None  #: sent as JSON
    repeatable: bool = False  #: whether sending it twice does no harm
    extra_seconds: float = 0.0  #: how long the server may take beyond the usual timeout
    within: float | None = None  #: seconds for all tries together, where fewer than usual

    def with_headers(self, **headers: str) -> Call:
        """The same call with further headers; ``_`` in a name stands for ``-``."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **added})

    def keyed(self, key: str | None = None) -> Call:
        """The same call with an ``Idempotency-Key``, one made up where none is given: it may be repeated.

        Every try of a call carries the same key, so that one whose answer was lost is never done twice.

        Raises:
            InputError: the key could not be sent.
        """
        if key is not None:
            check_key(key)
        named = self.with_headers(Idempotency_Key=key or str(uuid.uuid4()))
        return replace(named, repeatable=True)

    def allowing(self, seconds: float, *, within: float | None = None) -> Call:
        """The same call, which the server may hold open for so long.

        Args:
            within: seconds for all tries together.
        """
        return replace(self, extra_seconds=seconds, within=within)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A successful answer."""

    status: int
    headers: Mapping[str, str]  #: names in lower case
    body: Any  #: parsed JSON; None for an empty body

    def parse(self, build: Callable[[Any], T]) -> T:
        """What ``build`` makes of the body.

        Raises:
            ApiError: the body is JSON but not what this call answers (``unexpected_reply``).
        """
        try:
            return build(self.body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ApiError(
                f"the answer is not what was expected ({type(error).__name__}: {error}); "
                "is this a Textmill server, and as new as this client?",
                status=self.status,
                code="unexpected_reply",
                headers=self.headers,
            ) from error


def check_key(key: str) -> None:
    """
    Raises:
        InputError: it is no idempotency key.
    """
    if not _KEY.fullmatch(key):
        raise InputError(
            f"not an idempotency key: {key!r}; "
            "expected 1 to 255 printable ASCII characters without spaces"
        )


@dataclass(frozen=True)
class Ask(Generic[T]):
    """A call together with what its answer means: all that the sync and the async client share of it."""

    call: Call
    read: Callable[[Reply], T]


def ask(request: Call, build: Callable[[Any], T]) -> Ask[T]:
    """A call whose answer is what ``build`` makes of its body."""
    return Ask(request, lambda reply: reply.parse(build))


def call(
    method: str,
    *path: str,
    query: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
    repeatable: bool | None = None,
) -> Call:
    """A call of ``/v1/<path>``. Path segments are quoted; None in the query is left out."""
    return Call(
        method=method,
        path="/v1/" + "/".join(quote(segment, safe="") for segment in path),
        query=_query(query or {}),
        body=body,
        repeatable=method in _IDEMPOTENT if repeatable is None else repeatable,
    )


def _query(values: Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for name, value in values.items():
        if value is not None:
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}
