"""A store in memory, before whose every call a client may die, be stalled, or look at what there is."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence

from storage.objects import ObjectChanged, ObjectInfo, ObjectMissing, ObjectStore


class Disk:
    """Objects and uploads, as all clients share them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        self.numbers = itertools.count(1)
        self.seen: dict[str, bytes] | None = None  #: what was there when somebody looked last


class Bucket(ObjectStore):
    """One client of it.

    Args:
        disk: what it reads and writes.
        step: called before each call.
    """

    def __init__(self, disk: Disk, step: Callable[[], None] = lambda: None) -> None:
        self.disk = disk
        self.step = step
        self.bucket = "corpora"

    def in_bucket(self, bucket: str) -> ObjectStore:
        return self

    def _stat(self, name: str) -> str:
        if name not in self.disk.objects:
            raise ObjectMissing(name)
        return hashlib.md5(self.disk.objects[name], usedforsecurity=False).hexdigest()

    def put_once(self, name: str, data: bytes, content_type: str = "") -> bool:
        self.step()
        if new := name not in self.disk.objects:
            self.disk.objects[name] = data
        return new

    def put(self, name: str, data: bytes, content_type: str = "") -> None:
        self.step()
        self.disk.objects[name] = data

    def replace(self, name: str, data: bytes, etag: str, content_type: str = "") -> None:
        self.step()
        if name not in self.disk.objects or self._stat(name) != etag:
            raise ObjectChanged(name)
        self.disk.objects[name] = data

    def delete(self, name: str) -> None:
        self.step()
        self.disk.objects.pop(name, None)

    def get(self, name: str) -> bytes:
        return self.get_version(name)[0]

    def get_version(self, name: str) -> tuple[bytes, str]:
        self.step()
        found = self._stat(name)
        data = self.disk.objects[name]
        return data, found

    def list(
        self, prefix: str, *, recursive: bool = True, start_after: str | None = None
    ) -> Iterator[ObjectInfo]:
        self.step()
        found = sorted(name for name in self.disk.objects if name.startswith(prefix))
        for name in found:
            yield ObjectInfo(name=name, size=0, etag="", modified=None, metadata={})

    def begin_upload(self, name: str, content_type: str) -> str:
        self.step()
        upload = f"upload-{next(self.disk.numbers)}"
        self.disk.uploads[upload] = (name, {})
        return upload

    def upload_part(self, name: str, upload: str, number: int, data: bytes | bytearray) -> str:
        self.step()
        self._upload(name, upload)[number] = bytes(data)
        return str(number)

    def complete_upload(self, name: str, upload: str, etags: Sequence[str]) -> None:
        self.step()
        parts = self._upload(name, upload)
        self.disk.objects[name] = b"".join(parts[int(etag)] for etag in etags)
        del self.disk.uploads[upload]

    def abort_upload(self, name: str, upload: str) -> None:
        self.step()
        self._upload(name, upload)
        del self.disk.uploads[upload]

    def _upload(self, name: str, upload: str) -> dict[int, bytes]:
        if upload not in self.disk.uploads:
            raise ObjectMissing(name)
        return self.disk.uploads[upload][1]
