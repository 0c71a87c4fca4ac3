"""Rows from the results of another job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson

from jobs.intake.lines import LongLine, split_lines
from jobs.intake.objects import ReadOptions, row_from_object, too_large
from jobs.intake.pieces import rechunk
from jobs.rows import BadRow, Row, RowFailure
from jobs.selecting import Selection
from jobs.spec import RowsSpec

#: A result holds what was carried along, and what was made of it: how much longer than a row it may be.
_LONGER = 8


def result_rows(
    chunks: Iterable[bytes], spec: RowsSpec, *, source: str, options: ReadOptions
) -> Iterator[Row | BadRow]:
    """One row for each result that is wanted, numbered from 0 without gaps.

    Args:
        chunks: the results' bytes, in chunks of any size.
        spec: which results, and which of their values.
        source: what errors call them.
        options: what the job wants from each row.
    """
    wanted: Sequence[str] = (options.text_field, options.id_field, *options.kept)
    selection = Selection(spec.fields, wanted, spec.where)
    limit = _LONGER * options.max_row_bytes
    index = 0
    for number, line in enumerate(split_lines(rechunk(chunks), limit), 1):
        if not line:
            continue
        if isinstance(line, LongLine):
            yield BadRow(index, too_large(line.size, limit), source, number)
            index += 1
            continue
        try:
            result = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield BadRow(
                index, RowFailure("invalid_json", f"not valid JSON: {error}"), source, number
            )
            index += 1
            continue
        if selection.takes(result):
            yield row_from_object(
                selection.row(result), index=index, source=source, line=number, options=options
            )
            index += 1
