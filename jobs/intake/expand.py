"""Decompression of input as a stream, safe against data that expands without end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.intake.expansion import Expansion
from jobs.intake.gunzip import gunzip
from jobs.intake.unzstd import unzstd


def expand(
    chunks: Iterable[bytes], compression: str | None, *, max_expansion: int
) -> Iterator[bytes]:
    """Pass chunks through (``None``) or decompress them (``gzip`` or ``zstd``), in bounded memory.

    A gzip file may have several members. Zero bytes after a member are skipped and anything else that is not a
    member is ignored, as gzip(1) does. A Zstandard file may have several frames, skippable ones too, and nothing
    else, as zstd(1) has it.

    Args:
        max_expansion: what comes out may be at most this many times as large as what went in; judged all along, once
            more than :data:`jobs.intake.expansion.FREE_EXPANSION` bytes came out.

    Returns:
        Pieces of at most :data:`jobs.intake.expansion.MAX_PIECE` bytes; uncompressed chunks as they are.

    Raises:
        JobFailure: ``input_corrupt``, the data is not what it should be, damaged or cut short; ``input_expansion``, it
            expands too far or takes too much memory to decompress. Both while iterating.
        ValueError: there is no such compression.
    """
    match compression:
        case None:
            return iter(chunks)
        case "gzip":
            return gunzip(chunks, Expansion(max_expansion))
        case "zstd":
            return unzstd(chunks, Expansion(max_expansion))
    raise ValueError(f"unknown compression {compression!r}; expected 'gzip', 'zstd' or None")
