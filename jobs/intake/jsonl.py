"""Rows from JSON lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from jobs.intake.lines import LongLine, split_lines
from jobs.intake.objects import ReadOptions, not_utf8, row_from_object, too_large
from jobs.rows import BadRow, Row, RowFailure


def jsonl_rows(
    pieces: Iterable[bytes], *, source: str, first_index: int, options: ReadOptions
) -> Iterator[Row | BadRow]:
    """One row for each line that is not blank."""
    index = first_index
    for number, line in enumerate(split_lines(pieces, options.max_row_bytes), 1):
        if not line:
            continue
        if isinstance(line, LongLine):
            failure = too_large(line.size, options.max_row_bytes)
            yield BadRow(index, failure, source, number)
        else:
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if line.isspace():
                    continue
                yield BadRow(index, _failure(line, error), source, number)
            else:
                yield row_from_object(
                    value, index=index, source=source, line=number, options=options
                )
        index += 1


def _failure(line: bytes, error: orjson.JSONDecodeError) -> RowFailure:
    try:
        line.decode()
    except UnicodeDecodeError as undecodable:
        return not_utf8(undecodable, "the line")
    return RowFailure("invalid_json", f"not valid JSON: {error.msg} at column {error.colno}")
