"""Decompression of input as a stream, safe against data that expands without end."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from jobs.errors import JobFailure

#: Largest piece handed out, in bytes.
MAX_PIECE = 1 << 20
#: Up to here input may expand by any factor, in bytes.
FREE_EXPANSION = 64 << 20

#: Bytes given to zlib at once. It copies what it leaves unread at each call, so small slices keep a file of
#: countless tiny members, or one that expands hugely, from costing quadratic time.
_SLICE = 16 << 10
_MAGIC = b"\x1f\x8b"  # RFC 1952, section 2.3.1
_GZIP_ONLY = 16 + zlib.MAX_WBITS


def expand(
    chunks: Iterable[bytes], compression: str | None, *, max_expansion: int
) -> Iterator[bytes]:
    """Pass chunks through (``None``) or decompress them (``gzip``), in bounded memory.

    A gzip file may have several members. Zero bytes after a member are skipped and anything else that is not a
    member is ignored, as gzip(1) does.

    Args:
        max_expansion: what comes out may be at most this many times as large as what went in; judged all along, once
            more than :data:`FREE_EXPANSION` bytes came out.

    Returns:
        Pieces of at most :data:`MAX_PIECE` bytes; uncompressed chunks as they are.

    Raises:
        JobFailure: ``input_corrupt``, the data is not gzip, damaged or cut short; ``input_expansion``, it expands
            too far. Both while iterating.
        ValueError: there is no such compression.
    """
    if compression is None:
        return iter(chunks)
    if compression == "gzip":
        return _Gunzip(max_expansion).run(chunks)
    raise ValueError(f"unknown compression {compression!r}; expected 'gzip' or None")


def _slices(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for at in range(0, len(chunk), _SLICE):
            yield chunk[at : at + _SLICE]


class _Gunzip:
    """State of one decompression: how far it read and wrote, and the member it is in."""

    def __init__(self, max_expansion: int) -> None:
        self._max_expansion = max_expansion
        self._read = 0  # bytes of input that zlib has taken
        self._written = 0
        self._members = 0  # members that have ended

    def run(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        slices = _slices(chunks)
        data = self._next_member(b"", slices)
        while data:
            member = zlib.decompressobj(_GZIP_ONLY)
            while not member.eof:
                for out in self._inflate(member, data):
                    self._check_expansion(len(out))
                    yield out
                if not member.eof:
                    data = next(slices, b"")
                    if not data:
                        raise self._corrupt("is cut short: it ends inside a member")
            self._members += 1
            self._read -= len(member.unused_data)
            data = self._next_member(member.unused_data, slices)

    def _next_member(self, data: bytes, slices: Iterator[bytes]) -> bytes:
        """Bytes that begin with the next member's header; empty at the end."""
        while True:
            if self._members:
                padding = len(data) - len(data.lstrip(b"\0"))
                self._read += padding
                data = data[padding:]
            if len(data) >= len(_MAGIC):
                break
            more = next(slices, b"")
            if not more:
                break
            data += more
        if data.startswith(_MAGIC):
            return data
        if not self._members:
            raise self._corrupt("is not gzip: a member's header was expected")
        return b""

    def _inflate(self, member: zlib._Decompress, data: bytes) -> Iterator[bytes]:
        """What ``data`` decompresses to, piece by piece."""
        while True:
            try:
                out = member.decompress(data, MAX_PIECE)
            except zlib.error as error:
                raise self._corrupt(f"is damaged ({error})") from None
            # At a member's end zlib leaves an old tail in place; what follows the member is in ``unused_data``.
            left = b"" if member.eof else member.unconsumed_tail
            self._read += len(data) - len(left)
            data = left
            if out:
                yield out
            # A full piece may leave output inside zlib even though no input is left.
            if member.eof or (not data and len(out) < MAX_PIECE):
                return

    def _check_expansion(self, size: int) -> None:
        self._written += size
        if self._written > max(FREE_EXPANSION, self._max_expansion * self._read):
            raise JobFailure(
                "input_expansion",
                f"the compressed input expands too far: {self._read} bytes gave more than {self._written - 1}; "
                f"beyond {FREE_EXPANSION >> 20} MiB at most {self._max_expansion} times its size is allowed",
            )

    def _corrupt(self, what: str) -> JobFailure:
        return JobFailure("input_corrupt", f"the gzip input {what}, at or after byte {self._read}")
