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
    name = document_name(source)
    try:
        data = whole(pieces, options.max_row_bytes)
    except JobFailure as failure:
        if failure.failure_code != "input_encoding":
            raise
        yield BadRow(first_index, RowFailure("invalid_utf8", failure.detail), source, 1, name)
        return
    if data == b"":
        return
    read = _text(data, "the document", options)
    if isinstance(read, str):
        yield Row(first_index, read, name, _carried(read, options), source, 1)
    else:
        yield BadRow(first_index, read, source, 1, name)


def document_name(source: str) -> str:
    """The ``custom_id`` of a row that is a whole source: without one nobody could tell whose result it is."""
    return source[-MAX_CUSTOM_ID:]


def whole(pieces: Iterable[bytes], limit: int) -> bytes | LongLine:
    """All bytes of a source; of more than ``limit`` only how many they are."""
    held = bytearray()
    size = 0
    for piece in pieces:
        size += len(piece)
        if size <= limit:
            held += piece
        else:
            held.clear()
    return LongLine(size) if size > limit else bytes(held)


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
