"""Formats by file name."""

from __future__ import annotations

from jobs.spec import InputFormat

_FORMATS: dict[str, InputFormat] = {
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "csv": "csv",
    "tsv": "tsv",
    "txt": "text",
    "text": "text",
    "md": "documents",
    "markdown": "documents",
    "html": "html",
    "htm": "html",
    "xhtml": "html",
    "parquet": "parquet",
}
_COMPRESSIONS = {"gz": "gzip", "zst": "zstd"}


def detect(name: str) -> tuple[InputFormat | None, str | None]:
    """Format and compression by the ending of a file's name or an object's key; case does not matter.

    Returns:
        The format, or None where the ending names none (the submitter must then say it); and ``gzip``, ``zstd`` or
        None.
    """
    stem, dot, ending = name.rpartition("/")[2].lower().rpartition(".")
    compression = None
    if dot and ending in _COMPRESSIONS:
        compression = _COMPRESSIONS[ending]
        stem, dot, ending = stem.rpartition(".")
    return (_FORMATS.get(ending) if dot else None), compression
