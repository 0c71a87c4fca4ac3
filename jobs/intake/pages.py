"""A gate before the library that decodes Parquet: it sees no page that it could not decode in bounded memory.

A page is decompressed whole, and how large it gets stands only in its own header; what the file's metadata say of it
need not be true. So each header is read here before the bytes around it are handed over.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from jobs.errors import JobFailure
from jobs.intake.objects import quoted
from jobs.intake.thrift import CutThrift, MalformedThrift, Struct, read_struct

#: Most bytes that the pages for one batch of rows may decompress to.
MAX_HELD = 512 << 20
#: Most values of columns that hold lists that may be decoded for one batch of rows.
MAX_VALUES = 8 << 20

#: Sizes in which a header is tried: nearly all have fewer than a hundred bytes, but statistics may be long.
_HEADER_SIZES = (512, 64 << 10, 16 << 20)
#: Bytes after a column that some early writers did not count, and that readers therefore may ask for.
_UNCOUNTED = 100
#: Types of pages and encodings of ``parquet.thrift``. The header of a page of data, and in it the encoding, have field
#: numbers of their own for each type.
_DATA = {0: (5, 2), 3: (8, 4)}
_DICTIONARY = 2
_DICTIONARIES = (2, 8)
_DELTA_LENGTHS, _DELTA_STRINGS = 6, 7
#: Memory for a value of a column that holds lists, its levels included, in bytes.
_VALUE_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """The part of a file that holds one column of one row group."""

    column: str
    start: int
    size: int  #: bytes in the file
    values: int  #: that it says it has, nulls included
    repeated: bool  #: whether a row may have several values
    width: int  #: bytes of a value where all are of one size, 0 for texts
    #: Whether its values are read as a dictionary, which then holds those of the whole chunk. Otherwise each value is
    #: written out.
    kept: bool


class _Walk:
    """How far the page headers of one chunk were read."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.at = chunk.start
        self.seen = 0
        self.dictionary = 0  # bytes of the dictionary, decompressed
        self.steady = 0  # bytes that the values of a batch may need beyond their pages, or the dictionary that is kept

    @property
    def done(self) -> bool:
        return self.seen >= self.chunk.values or self.at >= self.chunk.start + self.chunk.size


class PageGate(io.RawIOBase):
    """A Parquet file, read through here. Only the chunks last named by :meth:`watch` can be read."""

    def __init__(self, file: BinaryIO, source: str) -> None:
        self._file = file
        self._source = source
        self._at = 0
        self._end = file.seek(0, io.SEEK_END)
        self._walks: list[_Walk] = []
        self._rows = 1
        self._held = 0
        self._values = 0

    def watch(self, chunks: Sequence[Chunk], rows: int) -> int:
        """Name the chunks to be read next, so many rows at a time.

        Returns:
            How many rows may be read at a time: fewer where each could hold a very large value of a dictionary.

        Raises:
            JobFailure: ``input_corrupt``, a chunk does not begin with a page.
        """
        self._walks = [_Walk(chunk) for chunk in chunks]
        dictionaries = 0
        for walk in self._walks:
            if not (walk.done or walk.chunk.kept or walk.chunk.width):
                first, _ = self._header(walk)
                if first.numbers.get(1) == _DICTIONARY:
                    dictionaries += max(0, first.numbers.get(2, 0))
        self._rows = max(1, min(rows, MAX_HELD // 2 // max(1, dictionaries)))
        self.release()
        return self._rows

    def release(self) -> None:
        """A batch of rows was read; its pages need not be held any longer."""
        self._held = self._values = 0

    # --- the file ------------------------------------------------------------------------------------

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        """
        Raises:
            JobFailure: ``input_expansion``, a page among those bytes would take too much memory; ``input_corrupt``,
                they are not pages of a chunk that is watched.
        """
        left = max(0, self._end - self._at)
        size = left if size < 0 else min(size, left)
        self._check(self._at, self._at + size)
        self._file.seek(self._at)
        data = self._file.read(size)
        self._at += len(data)
        return data

    # --- the pages -----------------------------------------------------------------------------------

    def _check(self, start: int, stop: int) -> None:
        known = False
        for walk in self._walks:
            chunk = walk.chunk
            if chunk.start <= start <= chunk.start + chunk.size + _UNCOUNTED:
                known = True
            if start < chunk.start + chunk.size and stop > chunk.start:
                while walk.at < stop and not walk.done:
                    self._page(walk)
        if not known:
            raise self._damaged(f"byte {start} belongs to no column that is read")

    def _page(self, walk: _Walk) -> None:
        header, size = self._header(walk)
        plain, stored = header.numbers.get(2), header.numbers.get(3)
        if plain is None or stored is None or plain < 0 or stored < 0:
            raise self._damaged(f"the page at byte {walk.at} says no size")
        kind = header.numbers.get(1, -1)
        values, encoding = 0, None
        if kind in _DATA:
            number, encoding_number = _DATA[kind]
            data = header.structs.get(number, Struct())
            values, encoding = max(0, data.numbers.get(1, 0)), data.numbers.get(encoding_number)
        elif kind == _DICTIONARY:
            walk.dictionary = max(walk.dictionary, plain)
        self._charge(walk, plain, values, encoding)
        walk.seen += values
        walk.at += size + stored

    def _charge(self, walk: _Walk, plain: int, values: int, encoding: int | None) -> None:
        chunk = walk.chunk
        decoded = values if chunk.repeated else min(values, self._rows)  # at once
        longest = max(chunk.width, _VALUE_BYTES)
        if encoding == _DELTA_STRINGS:
            longest = plain  # each may repeat the one before
        elif encoding in _DICTIONARIES and not (chunk.kept or chunk.width):
            longest = walk.dictionary
        if chunk.kept and encoding not in _DICTIONARIES:
            walk.steady += plain
        elif not chunk.repeated:
            walk.steady = max(walk.steady, decoded * longest)
        if encoding in (_DELTA_LENGTHS, _DELTA_STRINGS):
            plain += values * _VALUE_BYTES  # the lengths are decoded before any value
        if chunk.repeated:
            self._values += values
            plain = max(plain, decoded * longest)
        self._held += plain
        needed = self._held + sum(other.steady for other in self._walks)
        if needed > MAX_HELD or self._values > MAX_VALUES:
            raise JobFailure(
                "input_expansion",
                f"{self._source}: column {quoted(chunk.column)} cannot be read in bounded memory: {self._rows} rows "
                f"may need more than {MAX_HELD >> 20} MiB or {MAX_VALUES >> 20} million values; "
                "write it with smaller pages and row groups",
            )

    def _header(self, walk: _Walk) -> tuple[Struct, int]:
        for size in _HEADER_SIZES:
            self._file.seek(walk.at)
            try:
                return read_struct(self._file.read(size))
            except CutThrift:
                continue  # with more of it
            except MalformedThrift as error:
                raise self._damaged(f"the page at byte {walk.at} has no header: {error}") from None
        raise self._damaged(f"the header of the page at byte {walk.at} does not end")

    def _damaged(self, what: str) -> JobFailure:
        return JobFailure("input_corrupt", f"{self._source}: the Parquet file is damaged: {what}")
