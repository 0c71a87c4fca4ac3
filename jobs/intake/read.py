"""Bytes of one source, made into rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.intake.jsonl import jsonl_rows
from jobs.intake.objects import ReadOptions
from jobs.intake.pieces import rechunk, without_mark
from jobs.intake.plain import document_rows, line_rows
from jobs.intake.tables import table_rows
from jobs.rows import BadRow, Row
from jobs.spec import StreamedFormat


def read_rows(
    chunks: Iterable[bytes],
    *,
    format: StreamedFormat,  # noqa: A002  # the name it has in submissions
    source: str,
    first_index: int,
    options: ReadOptions,
) -> Iterator[Row | BadRow]:
    """The rows of one source, numbered from ``first_index`` without gaps, bad ones included.

    The text must be UTF-8, but for web pages, with or without a byte order mark. Lines end in LF or CRLF. An empty
    source has no rows.

    Args:
        chunks: the source's bytes, decompressed, in chunks of any size.
        source: what errors call it.

    Raises:
        JobFailure: while iterating, where no row can be read: ``input_encoding``, not UTF-8 by its first bytes;
            ``input_header`` and ``missing_text_field``, a table without the header that it needs.
    """
    if format == "html":
        # Only a process that reads web pages pays for libxml2.
        from jobs.intake.webpages import page_rows  # noqa: PLC0415

        # A page may be in any encoding.
        return page_rows(rechunk(chunks), source=source, first_index=first_index, options=options)
    pieces = without_mark(rechunk(chunks), source)
    match format:
        case "jsonl":
            reader = jsonl_rows
        case "text":
            reader = line_rows
        case "documents":
            reader = document_rows
        case "csv" | "tsv":
            delimiter = b"," if format == "csv" else b"\t"
            return table_rows(
                pieces, delimiter=delimiter, source=source, first_index=first_index, options=options
            )
    return reader(pieces, source=source, first_index=first_index, options=options)
