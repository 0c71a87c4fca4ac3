"""Decompression of gzip as a stream."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from jobs.errors import JobFailure
from jobs.intake.expansion import MAX_PIECE, Expansion

#: Bytes given to zlib at once. It copies what it leaves unread at each call, so small slices keep a file of
#: countless tiny members, or one that expands hugely, from costing quadratic time.
_SLICE = 16 << 10
_MAGIC = b"\x1f\x8b"  # RFC 1952, section 2.3.1
_GZIP_ONLY = 16 + zlib.MAX_WBITS


def gunzip(
    chunks: Iterable[bytes], expansion: Expansion, *, max_members: int | None = None
) -> Iterator[bytes]:
    """What gzip members hold, in pieces of at most :data:`MAX_PIECE` bytes.

    Args:
        max_members: most members; None: any number.

    Raises:
        JobFailure: ``input_corrupt`` or ``input_expansion``, while iterating.
    """
    return _Gunzip(expansion, max_members).run(chunks)


def _slices(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut at the same places whatever the chunks are: what comes out before damage shows depends on
    it."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        whole = len(held) - len(held) % _SLICE
        for at in range(0, whole, _SLICE):
            yield bytes(held[at : at + _SLICE])
        del held[:whole]
    if held:
        yield bytes(held)


class _Gunzip:
    """State of one decompression: how far it came, and the member it is in."""

    def __init__(self, expansion: Expansion, max_members: int | None) -> None:
        self._expansion = expansion  # of its input, what zlib has taken
        self._max_members = max_members
        self._members = 0  # members that have ended

    def run(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        slices = _slices(chunks)
        data = self._next_member(b"", slices)
        while data:
            if self._members == self._max_members:
                raise self._corrupt(f"has more than {self._max_members} members")
            member = zlib.decompressobj(_GZIP_ONLY)
            while not member.eof:
                for out in self._inflate(member, data):
                    self._expansion.wrote(len(out))
                    yield out
                if not member.eof:
                    data = next(slices, b"")
                    if not data:
                        raise self._corrupt("is cut short: it ends inside a member")
            self._members += 1
            self._expansion.read -= len(member.unused_data)
            data = self._next_member(member.unused_data, slices)

    def _next_member(self, data: bytes, slices: Iterator[bytes]) -> bytes:
        """Bytes that begin with the next member's header; empty at the end."""
        while True:
            if self._members:
                padding = len(data) - len(data.lstrip(b"\0"))
                self._expansion.read += padding
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
            self._expansion.read += len(data) - len(left)
            data = left
            if out:
                yield out
            # A full piece may leave output inside zlib even though no input is left.
            if member.eof or (not data and len(out) < MAX_PIECE):
                return

    def _corrupt(self, what: str) -> JobFailure:
        return JobFailure(
            "input_corrupt", f"the gzip input {what}, at or after byte {self._expansion.read}"
        )
