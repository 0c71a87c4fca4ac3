"""Decompression of Zstandard as a stream.

The format is RFC 8878. Frames and blocks are walked here and given to the library block by block, because a block is
what bounds its output: at most 128 KiB, where a kilobyte of blocks may stand for 32 MiB. So is a frame's window known
before memory is taken for it, and a file that is cut short told from one that has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import zstandard

from jobs.errors import JobFailure
from jobs.intake.expansion import Expansion

#: Largest window that a frame may ask for, in bytes: what zstd(1) takes without ``--long=28`` or more.
MAX_WINDOW = 128 << 20

_MAGIC = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
#: Largest block, compressed or not (section 3.1.1.2.4).
_MAX_BLOCK = 128 << 10
_RAW, _RUN, _COMPRESSED = 0, 1, 2
#: Bytes of a skippable frame passed over at once.
_SKIP = 64 << 10


class _Frame(Protocol):
    """The library's state in one frame."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes) -> bytes: ...


def unzstd(
    chunks: Iterable[bytes],
    expansion: Expansion,
    *,
    max_window: int = MAX_WINDOW,
    max_frames: int | None = None,
) -> Iterator[bytes]:
    """What the frames hold, in pieces of at most 128 KiB.

    Args:
        max_window: largest window that a frame may ask for, in bytes.
        max_frames: most frames, those that are skipped included; None: any number.

    Raises:
        JobFailure: ``input_corrupt``; or ``input_expansion``, also for a window larger than ``max_window``. Both
            while iterating.
    """
    return _Unzstd(chunks, expansion, max_window, max_frames).run()


class _Unzstd:
    """State of one decompression."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        expansion: Expansion,
        max_window: int,
        max_frames: int | None,
    ) -> None:
        self._chunks = iter(chunks)
        self._expansion = expansion  # of its input, what was taken off the buffer
        self._buffer = bytearray()
        self._max_window = max_window
        self._max_frames = max_frames
        self._library = zstandard.ZstdDecompressor(max_window_size=max_window)

    def run(self) -> Iterator[bytes]:
        magic, frames = self._magic(first=True), 0
        while magic is not None:
            if frames == self._max_frames:
                raise self._corrupt(f"has more than {self._max_frames} frames")
            frames += 1
            if magic in _SKIPPABLE:
                self._skip(int.from_bytes(self._take(4), "little"))
            else:
                yield from self._frame()
            magic = self._magic()

    def _magic(self, *, first: bool = False) -> int | None:
        """The number that the next frame begins with; None at the end."""
        self._fill(4)
        if not self._buffer and not first:
            return None
        magic = int.from_bytes(self._buffer[:4], "little")
        if len(self._buffer) < 4 or (magic != _MAGIC and magic not in _SKIPPABLE):
            raise self._corrupt("is not Zstandard: a frame's header was expected")
        self._take(4)
        return magic

    def _frame(self) -> Iterator[bytes]:
        header, checksum = self._header()
        frame = self._library.decompressobj()
        self._feed(frame, _MAGIC.to_bytes(4, "little") + header)
        last = False
        while not last:
            head = self._take(3)
            word = int.from_bytes(head, "little")
            last, kind, size = bool(word & 1), word >> 1 & 3, word >> 3
            if kind > _COMPRESSED or size > _MAX_BLOCK:
                raise self._corrupt("is damaged (a block's header is none)")
            block = self._take(1 if kind == _RUN else size)
            if last and checksum:
                block += self._take(4)
            out = self._feed(frame, head + block)
            if out:
                self._expansion.wrote(len(out))
                yield out
        if not frame.eof:
            raise self._corrupt("is damaged (a frame does not end with its last block)")

    def _header(self) -> tuple[bytes, bool]:
        """The rest of a frame's header (section 3.1.1.1), and whether a checksum follows the last block."""
        descriptor = self._take(1)[0]
        single_segment = bool(descriptor >> 5 & 1)
        window = b"" if single_segment else self._take(1)
        dictionary = self._take((0, 1, 2, 4)[descriptor & 3])
        content = self._take((int(single_segment), 2, 4, 8)[descriptor >> 6])
        if any(dictionary):
            raise self._corrupt("was compressed with a dictionary, which is not there")
        if window:
            base = 1 << 10 + (window[0] >> 3)
            needed = base + base // 8 * (window[0] & 7)
        else:
            needed = int.from_bytes(content, "little") + (256 if len(content) == 2 else 0)
        if needed > self._max_window:
            advice = (
                "; compress it with --long=27 or less" if self._max_window == MAX_WINDOW else ""
            )
            raise JobFailure(
                "input_expansion",
                f"the Zstandard input needs a window of {needed >> 20} MiB to be decompressed, at most "
                f"{self._max_window >> 20} MiB are allowed{advice}",
            )
        header = bytes([descriptor]) + window + dictionary + content
        return header, bool(descriptor >> 2 & 1)

    def _feed(self, frame: _Frame, data: bytes) -> bytes:
        try:
            return frame.decompress(data)
        except zstandard.ZstdError as error:
            raise self._corrupt(f"is damaged ({error})") from None

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._take(min(size, _SKIP)))

    def _take(self, size: int) -> bytes:
        self._fill(size)
        if len(self._buffer) < size:
            self._expansion.read += len(self._buffer)
            raise self._corrupt("is cut short: it ends inside a frame")
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._expansion.read += size
        return taken

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                return
            self._buffer += chunk

    def _corrupt(self, what: str) -> JobFailure:
        return JobFailure(
            "input_corrupt", f"the Zstandard input {what}, at or after byte {self._expansion.read}"
        )
