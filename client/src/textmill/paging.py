"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: Items that the server puts on one page at most.
MAX_PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list, newest first."""

    data: tuple[T, ...]
    has_more: bool  #: whether older ones exist
    next_after: str | None  #: what to give as ``after`` to get them
    raw: Mapping[str, Any] = field(repr=False, compare=False)  #: as the server sent it


def to_page(raw: Mapping[str, Any], parse: Callable[[Mapping[str, Any]], T]) -> Page[T]:
    """A page from the API's object."""
    return Page(
        data=tuple(parse(item) for item in raw["data"]),
        has_more=bool(raw.get("has_more")),
        next_after=raw.get("next_after"),
        raw=raw,
    )


def every(fetch: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """The items of all pages, each page asked for when the one before is used up."""
    after: str | None = None
    while True:
        page = fetch(after)
        yield from page.data
        if not page.has_more or page.next_after is None:
            return
        after = page.next_after


def parse_time(value: str | None) -> datetime | None:
    """A time from RFC 3339 text such as ``2026-11-02T12:00:00.000Z``."""
    return None if value is None else datetime.fromisoformat(value.replace("Z", "+00:00"))
