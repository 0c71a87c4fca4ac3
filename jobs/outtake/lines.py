"""JSON lines as they come from storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class BrokenLines(ValueError):
    """The stream ended inside a line. Whoever reads must not take what came so far for the whole."""


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream, without their ends; holds one chunk and one line.

    Raises:
        BrokenLines: the last line has no end.
    """
    held = bytearray()
    for chunk in chunks:
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines and held:
            held += lines[0]
            lines[0] = bytes(held)
            held.clear()
        yield from lines
        held += rest
    if held:
        raise BrokenLines(f"the last line breaks off after {len(held)} bytes")
