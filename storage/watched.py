"""A file that is hashed as it is read, for as long as that is wanted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO

_READ_BYTES = 1 << 20


class Watched:
    """The part of a binary file that an upload reads.

    Args:
        file: read to its end.
        check: called before each read; raises to give up.
    """

    def __init__(self, file: BinaryIO, check: Callable[[], None]) -> None:
        self._file = file
        self._check = check
        self.digest = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = _READ_BYTES) -> bytes:
        """As :meth:`io.RawIOBase.read`."""
        self._check()
        data = self._file.read(size)
        self.digest.update(data)
        self.bytes += len(data)
        return data
