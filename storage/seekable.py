"""An object as a file that can be read anywhere, for formats that are not read from front to back."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any

from jobs.errors import Unavailable
from storage.objects import ObjectStore

#: Bytes fetched and kept together, from a multiple of this many on.
BLOCK_BYTES = 1 << 20

#: Blocks kept: enough for as many columns that are read side by side.
BLOCKS = 16


class SeekableObject(io.RawIOBase):
    """One version of an object, read-only. Holds at most :data:`BLOCKS` blocks of :data:`BLOCK_BYTES`.

    Each block is one request; what is larger than a block and in none that is kept is one request, not kept. A read
    gives all that was asked for, short of the object's end. Not for use by several threads at once.

    Reading raises what :meth:`storage.objects.ObjectStore.stream` does: ObjectMissing, ObjectChanged, Unavailable.
    """

    def __init__(self, store: ObjectStore, name: str, *, etag: str, size: int) -> None:
        self._store = store
        self._name = name
        self._etag = etag
        self._size = size
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = (
            OrderedDict()
        )  # by number, least recently used first

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}.get(whence)
        if base is None:
            raise ValueError(f"whence {whence}: expected 0, 1 or 2")
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the object's first byte")
        self._at = base + offset
        return self._at

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        stop = min(self._at + len(view), self._size)
        done = 0
        while self._at < stop:
            piece = self._piece(stop - self._at)
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return done

    def _piece(self, wanted: int) -> memoryview:
        """At least one byte from the current place on, at most as many as wanted."""
        number, offset = divmod(self._at, BLOCK_BYTES)
        if wanted > BLOCK_BYTES and number not in self._blocks:
            return memoryview(self._fetch(self._at, wanted))
        block = self._blocks.pop(number, None)
        if block is None:
            start = number * BLOCK_BYTES
            block = self._fetch(start, min(BLOCK_BYTES, self._size - start))
        self._blocks[number] = block
        if len(self._blocks) > BLOCKS:
            self._blocks.popitem(last=False)
        return memoryview(block)[offset : offset + wanted]

    def _fetch(self, offset: int, length: int) -> bytes:
        pieces = self._store.stream(self._name, offset=offset, length=length, etag=self._etag)
        data = b"".join(pieces)
        if len(data) != length:  # an empty answer would make the reader ask for ever
            what = f"{length} bytes of {self._name} were asked for"
            raise Unavailable(f"the object store failed: {what}, {len(data)} came")
        return data
