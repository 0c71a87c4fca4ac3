"""Lines of a byte stream, none held that is longer than the limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LongLine:
    """Stands in for a line over the limit."""

    size: int  #: bytes, without its line end


def split_lines(pieces: Iterable[bytes], limit: int) -> Iterator[bytes | LongLine]:
    r"""Every line, blank ones too, without its ``\n`` or ``\r\n``.

    A line of more than ``limit`` bytes is passed over without being held. What follows the last line end is a line
    if it is not empty.
    """
    held = bytearray()  # the unfinished line, or only its last byte once it is too long
    dropped = 0  # bytes of the unfinished line that are no longer in ``held``
    for piece in pieces:
        lines = piece.split(b"\n")
        unfinished = lines.pop()
        if lines:
            if held:
                held += lines[0]
                lines[0] = bytes(held)
                held.clear()
            if b"\r" in piece or lines[0].endswith(b"\r"):
                lines = [line.removesuffix(b"\r") for line in lines]
            if dropped or len(lines[0]) > limit:
                yield LongLine(dropped + len(lines[0]))
                dropped = 0
                del lines[0]
            # No other line is longer than the piece that holds it.
            if len(piece) <= limit:
                yield from lines
            else:
                yield from (line if len(line) <= limit else LongLine(len(line)) for line in lines)
        held += unfinished
        if len(held) > limit + 1:  # one more, as the last byte may be the \r of a line end
            dropped += len(held) - 1
            del held[:-1]
    if held:
        text = bytes(held).removesuffix(b"\r")
        yield LongLine(dropped + len(text)) if dropped or len(text) > limit else text
