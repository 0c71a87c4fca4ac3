"""Objects in memory, where a test says when each of them comes and what of it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from hashlib import md5

from jobs.settings import Settings
from storage.objects import ObjectChanged, ObjectInfo, ObjectMissing, ObjectStore


class MemoryStore(ObjectStore):
    """The one bucket that there is; it reads only."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(ObjectStore.connect(Settings())._client, "corpora")
        self.objects = objects
        self.asked: list[str] = []
        self.before: Callable[[str], None] = lambda _name: None  #: called before each read
        self._lock = threading.Lock()

    def in_bucket(self, bucket: str) -> ObjectStore:
        assert bucket == self.bucket
        return self

    def info(self, name: str) -> ObjectInfo:
        data = self.objects[name]
        return ObjectInfo(name=name, size=len(data), etag=_etag(data), modified=None, metadata={})

    def stat(self, name: str) -> ObjectInfo:
        if name not in self.objects:
            raise ObjectMissing(name)
        return self.info(name)

    def list(
        self, prefix: str, *, recursive: bool = True, start_after: str | None = None
    ) -> Iterator[ObjectInfo]:
        """In the order in which they were put, as stores may that keep folders."""
        assert recursive
        assert start_after is None
        return (self.info(name) for name in self.objects if name.startswith(prefix))

    def stream(
        self,
        name: str,
        *,
        offset: int = 0,
        length: int | None = None,
        etag: str | None = None,
    ) -> Iterator[bytes]:
        with self._lock:
            self.asked.append(name)
        self.before(name)
        data = self.objects.get(name)
        if data is None:
            raise ObjectMissing(name)
        if etag != _etag(data):
            raise ObjectChanged(name)
        stop = len(data) if length is None else offset + length
        yield data[offset:stop]


def _etag(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()
