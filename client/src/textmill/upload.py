"""Request bodies that are read while they are sent, in bounded memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from textmill.errors import InputError

#: Bytes read and sent at a time.
CHUNK = 256 << 10

#: Called with the bytes sent so far and the bytes in all (None where not known).
UploadProgress = Callable[[int, "int | None"], None]


def _ignore(_sent: int, _size: int | None) -> None:
    """Nobody watches."""


class FileBody:
    """An open binary file, from where it stands to its end."""

    def __init__(self, source: BinaryIO, *, progress: UploadProgress | None = None) -> None:
        """
        Args:
            progress: called with the bytes sent so far and the bytes in all.

        Raises:
            InputError: the file is open in text mode.
        """
        if isinstance(source, io.TextIOBase):
            raise InputError("the file is open in text mode; open it with mode 'rb'")
        self._source = source
        self.progress = progress or _ignore
        self._lock = threading.Lock()
        self._touched = False
        self._start: int | None = None
        self.size: int | None = None
        self.sha256 = ""  #: hex digest of what was last sent, once all of it was
        if source.seekable():
            self._start = source.tell()
            self.size = source.seek(0, os.SEEK_END) - self._start
            source.seek(self._start)

    @property
    def can_start(self) -> bool:
        """Whether it can be given from its beginning: always for a seekable source, else only once."""
        return self._start is not None or not self._touched

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most :data:`CHUNK` bytes.

        Raises:
            InputError: the file became shorter meanwhile.
        """
        self._touched = True
        if self._start is not None:
            self._source.seek(self._start)
        digest = hashlib.sha256()
        sent = 0
        self.progress(0, self.size)
        while self.size is None or sent < self.size:
            chunk = self._source.read(CHUNK if self.size is None else min(CHUNK, self.size - sent))
            if not chunk:
                break
            digest.update(chunk)
            yield chunk
            sent += len(chunk)
            self.progress(sent, self.size)
        if self.size is not None and sent < self.size:
            raise InputError(
                f"the file became shorter while it was sent: {sent:,} of {self.size:,} bytes"
            )
        self.sha256 = digest.hexdigest()

    def section(self, offset: int, length: int) -> Iterator[bytes]:
        """So many bytes of a seekable file from an offset on, in pieces. Several threads may read at once.

        Raises:
            InputError: the file became shorter meanwhile.
        """
        stop = offset + length
        while offset < stop:
            with self._lock:
                self._source.seek((self._start or 0) + offset)
                chunk = self._source.read(min(CHUNK, stop - offset))
            if not chunk:
                raise InputError(f"the file became shorter while it was sent: {offset:,} bytes")
            yield chunk
            offset += len(chunk)

    def digest(self, offset: int = 0, length: int | None = None) -> str:
        """SHA-256 of a section of a seekable file, or of all of it, in hex."""
        digest = hashlib.sha256()
        for chunk in self.section(offset, (self.size or 0) if length is None else length):
            digest.update(chunk)
        return digest.hexdigest()


class RowsBody:
    """Rows held in a list, sent as JSON lines."""

    size: int | None = None
    can_start = True

    def __init__(
        self, rows: Sequence[dict[str, Any]], *, progress: UploadProgress | None = None
    ) -> None:
        self._rows = rows
        self._progress = progress or _ignore
        self.sha256 = ""  #: hex digest of what was last sent, once all of it was

    def digest(self) -> str:
        """SHA-256 of all that would be sent, in hex."""
        digest = hashlib.sha256()
        for chunk in _joined(self._rows):
            digest.update(chunk)
        return digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """The lines, joined to pieces of about :data:`CHUNK` bytes."""
        digest = hashlib.sha256()
        sent = 0
        for chunk in _joined(self._rows):
            digest.update(chunk)
            yield chunk
            sent += len(chunk)
            self._progress(sent, None)
        self.sha256 = digest.hexdigest()


def encode_row(row: dict[str, Any]) -> bytes:
    """A row as one line of JSON.

    Raises:
        InputError: it holds something that JSON cannot hold.
    """
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:  # a lone surrogate is a ValueError too
        raise InputError(f"not a row that JSON can hold: {error}") from None


def file_sha256(source: BinaryIO) -> str:
    """Hex digest of a seekable file from where it stands to its end; the position is kept."""
    start = source.tell()
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
    source.seek(start)
    return digest.hexdigest()


def _joined(rows: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    buffer = bytearray()
    for row in rows:
        buffer += encode_row(row)
        if len(buffer) >= CHUNK:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
