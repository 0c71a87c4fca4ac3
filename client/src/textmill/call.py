"""One call of the API as a value: built by pure functions, sent by a transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote

from textmill.errors import ApiError

T = TypeVar("T")

#: Methods that may be repeated without harm (RFC 9110, 9.2.2).
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})


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

    def with_headers(self, **headers: str) -> Call:
        """The same call with further headers; ``_`` in a name stands for ``-``."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **added})

    def allowing(self, seconds: float) -> Call:
        """The same call, which the server may hold open for so long."""
        return replace(self, extra_seconds=seconds)


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
