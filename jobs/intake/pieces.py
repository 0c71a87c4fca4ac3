"""Chunks as they arrive, made into pieces of a handy size, and the marks that a text may begin with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.errors import JobFailure

#: Bytes in a piece: large enough that the cost per piece vanishes, small enough that splitting one into lines
#: (some 40 bytes of memory for each line) stays cheap.
PIECE = 64 << 10

_UTF8_BOM = b"\xef\xbb\xbf"
#: First bytes that no UTF-8 text has, and what they say.
_WRAPPED = {
    b"\x1f\x8b": "is compressed with gzip; give it a name that ends in .gz",
    b"\x28\xb5\x2f\xfd": "is compressed with Zstandard; give it a name that ends in .zst",
    b"PAR1\x15": "is Parquet; set input.format to 'parquet' or give it a name that ends in .parquet",
}
_FOREIGN = {
    b"\xff\xfe": "is UTF-16; convert it to UTF-8",
    b"\xfe\xff": "is UTF-16; convert it to UTF-8",
    b"\x00\x00\xfe\xff": "is UTF-32; convert it to UTF-8",
    **_WRAPPED,
}
_LONGEST_MARK = max(map(len, _FOREIGN))


def rechunk(chunks: Iterable[bytes], size: int = PIECE) -> Iterator[bytes]:
    """The same bytes in non-empty pieces of less than twice ``size``; only the last before a large chunk is small."""
    held = bytearray()
    for chunk in chunks:
        if len(chunk) < size:
            held += chunk
            if len(held) >= size:
                yield bytes(held)
                held.clear()
            continue
        if held:
            yield bytes(held)
            held.clear()
        for at in range(0, len(chunk), size):
            yield chunk[at : at + size]
    if held:
        yield bytes(held)


def without_mark(pieces: Iterable[bytes], source: str) -> Iterator[bytes]:
    """The same bytes without a byte order mark of UTF-8.

    Raises:
        JobFailure: ``input_encoding``, the first bytes show another encoding, or compression.
    """
    rest = iter(pieces)
    head = b""
    for piece in rest:
        head += piece
        if len(head) >= _LONGEST_MARK:
            break
    for mark, meaning in _FOREIGN.items():
        if head.startswith(mark):
            raise JobFailure("input_encoding", f"{source} {meaning}")
    head = head.removeprefix(_UTF8_BOM)
    if head:
        yield head
    yield from rest


def wrapped(head: bytes) -> str | None:
    """What the first bytes of something that is no text in itself say of it; None: it may be text."""
    return next((meaning for mark, meaning in _WRAPPED.items() if head.startswith(mark)), None)
