"""Shards as they lie in the store, the next one fetched while the one before is computed."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor

from storage.objects import ObjectMissing, ObjectStore


class Shards:
    """Fetches shards, one of them ahead. Holds at most that one."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, "shard")
        self._name = ""
        self._fetch: Future[bytes] | None = None

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
            fetch, self._fetch, self._name = self._fetch, None, ""
            with contextlib.suppress(ObjectMissing):  # it is asked for once more
                return fetch.result()
        return self._store.get(name)
