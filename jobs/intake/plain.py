"""Rows from plain text: one for each line, or one for each document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.errors import JobFailure
from jobs.intake.lines import LongLine, split_lines
from jobs.intake.objects import MAX_CUSTOM_ID, ReadOptions, not_utf8, text_failure, too_large
from jobs.rows import BadRow, Row, RowFailure


def line_rows(
    pieces: Iterable[bytes], *, source: str, first_index: int, options: ReadOptions
) -> Iterator[Row | BadRow]:
    """One row for each line that is not blank."""
    index = first_index
    for number, line in enumerate(split_lines(pieces, options.max_row_bytes), 1):
        if not line:
            continue
        read = _text(line, "the line", options)
        if isinstance(read, str):
            yield Row(index, read, None, _carried(read, options), source, number)
        elif read.code == "empty_text":
            continue
        else:
            yield BadRow(index, read, source, number)
        index += 1


def document_rows(
    pieces: Iterable[bytes], *, source: str, first_index: int, options: ReadOptions
) -> Iterator[Row | BadRow]:
    """The whole source as one row, named by the source's own name; none if it is empty.

    Here a foreign encoding is the row's own fault, not the job's.
    """
    # Without an id nobody could tell which result belongs to which file.
    name = source[-MAX_CUSTOM_ID:]
    held = bytearray()
    size = 0
    try:
        for piece in pieces:
            size += len(piece)
            if size <= options.max_row_bytes:
                held += piece
            else:
                held.clear()
    except JobFailure as failure:
        if failure.failure_code != "input_encoding":
            raise
        yield BadRow(first_index, RowFailure("invalid_utf8", failure.detail), source, 1, name)
        return
    if not size:
        return
    read = _text(LongLine(size) if size > len(held) else bytes(held), "the document", options)
    if isinstance(read, str):
        yield Row(first_index, read, name, _carried(read, options), source, 1)
    else:
        yield BadRow(first_index, read, source, 1, name)


def _carried(text: str, options: ReadOptions) -> dict[str, str]:
    """The fields to keep: there is none but the text itself."""
    return {options.text_field: text} if options.text_field in options.keep else {}


def _text(raw: bytes | LongLine, where: str, options: ReadOptions) -> str | RowFailure:
    if isinstance(raw, LongLine):
        return too_large(raw.size, options.max_row_bytes)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return not_utf8(error, where)
    return text_failure(text, options) or text
