"""Lines of a stream, cut into pieces of bounded size: a pure function of the lines, however they came in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where a piece ends: with the line that reaches either."""

    rows: int
    bytes: int  #: of JSON lines


class Piece:
    """Some of the lines, read from the stream as they are asked for."""

    def __init__(self, source: _Source, cut: Cut | None) -> None:
        self._source = source
        self._cut = cut
        self.rows = 0  #: lines that were read so far

    @classmethod
    def whole(cls, chunks: Iterable[bytes]) -> Piece:
        """All lines of a stream."""
        return cls(_Source(chunks), None)

    def chunks(self) -> Iterator[bytes]:
        """The lines, in chunks of any size."""
        size = 0
        while self._source.more():
            chunk = self._source.held
            end = self._end(chunk, size)
            taken, self._source.held = chunk[:end], b"" if end is None else chunk[end:]
            self.rows += taken.count(b"\n")
            size += len(taken)
            yield taken
            if end is not None:
                return

    def _end(self, chunk: bytes, size: int) -> int | None:
        """How much of a chunk belongs to this piece; None: all of it, and perhaps more."""
        if self._cut is None:
            return None
        ends = []
        wanted = self._cut.rows - self.rows
        if chunk.count(b"\n") >= wanted:
            at = -1
            for _ in range(wanted):
                at = chunk.index(b"\n", at + 1)
            ends.append(at)
        if size + len(chunk) >= self._cut.bytes:
            ends.append(chunk.find(b"\n", max(0, self._cut.bytes - size - 1)))
        return min((at + 1 for at in ends if at >= 0), default=None)


class _Source:
    """What was not read yet."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.held = b""

    def more(self) -> bool:
        while not self.held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self.held = chunk
        return True


def cut_lines(chunks: Iterable[bytes], cut: Cut) -> Iterator[Piece]:
    """Cut a stream of lines; no lines at all make one empty piece.

    Each piece must be read to its end before the next one is asked for.
    """
    source = _Source(chunks)
    yield Piece(source, cut)
    while source.more():
        yield Piece(source, cut)
