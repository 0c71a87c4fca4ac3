"""What comes next, begun in a thread while the device computes: the next shard fetched, the next rows made ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self

import structlog

from jobs.kinds import Kind
from jobs.rows import BadRow, Row
from storage.objects import ObjectStore

log = structlog.get_logger(__name__)

#: Rows of a window as it is computed: those to compute, those that cannot be, and lines that are ready made.
Window = Sequence[Row | BadRow | bytes]


def good_rows(window: Window) -> list[Row]:
    """The rows of a window that its kind is given."""
    return [row for row in window if isinstance(row, Row)]


class Shards:
    """Fetches shards, one of them ahead. Holds at most that one."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, "shard")
        self._name = ""
        self._fetch: Future[bytes] | None = None
        self.hits = 0  #: shards that were there, or on their way, when they were asked for

    def expect(self, name: str) -> None:
        """Begin to fetch a shard that will most likely be asked for next."""
        if name != self._name:
            self.forget()
            self._name, self._fetch = name, self._pool.submit(self._store.get, name)

    def forget(self) -> None:
        """Let go of what was fetched ahead."""
        if self._fetch is not None:
            self._fetch.cancel()
        self._name, self._fetch = "", None

    def get(self, name: str) -> bytes:
        """A shard's bytes, as they lie in the store.

        Raises:
            ObjectMissing: there is none of this name.
            Unavailable: the store is away.
        """
        if name == self._name and self._fetch is not None:
            fetch = self._fetch
            self.forget()
            if not fetch.cancelled() and fetch.exception() is None:
                self.hits += 1
                return fetch.result()
            # By now the store may be back.
        return self._store.get(name)


class Readiness:
    """Lets a kind make one window ready while it computes the one before."""

    def __init__(
        self, kind: Kind, make: Callable[[list[Row]], Any], pool: ThreadPoolExecutor
    ) -> None:
        """Args:
        make: calls :meth:`jobs.kinds.Kind.ahead` with these rows.
        pool: of one thread.
        """
        self.useful = (
            type(kind).ahead is not Kind.ahead
        )  #: whether the kind makes anything ready at all
        self._make = make
        self._pool = pool
        self._made: Future[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # It holds on to the model, whose memory others may be waiting for.
        if self._made is not None and not self._made.cancel():
            wait([self._made])

    def begin(self, window: Window) -> None:
        """Begin with a window, the next that will be taken."""
        rows = good_rows(window)
        if rows:
            self._made = self._pool.submit(self._make, rows)

    def take(self) -> Any:
        """What was made of the window, once that is finished; None where nothing was."""
        made, self._made = self._made, None
        if made is None:
            return None
        error = made.exception()
        if error is not None:
            log.warning("not made ready", reason=f"{type(error).__name__}: {error}"[:200])
            return None
        return made.result()
