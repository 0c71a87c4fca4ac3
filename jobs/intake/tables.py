"""Rows from CSV and TSV: a header that names the columns, then one row for each record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.errors import JobFailure
from jobs.intake.objects import (
    ReadOptions,
    custom_id_of,
    not_utf8,
    quoted,
    row_from_object,
    shown_names,
)
from jobs.intake.records import Record, RecordReader
from jobs.rows import BadRow, Row, RowFailure


def table_rows(
    pieces: Iterable[bytes],
    *,
    delimiter: bytes,
    source: str,
    first_index: int,
    options: ReadOptions,
) -> Iterator[Row | BadRow]:
    """One row for each record after the header. Column names are taken without the spaces around them.

    Raises:
        JobFailure: ``input_header``, the header cannot be read or repeats a name; ``missing_text_field``, it does not
            name the text column.
    """
    reader = RecordReader(pieces, delimiter=delimiter, limit=options.max_row_bytes)
    header = reader.header()
    if header is None:
        return
    columns = _Columns(_names(header, source), source, options)
    for index, record in enumerate(reader.records(), first_index):
        yield columns.row(record, index)


def _names(header: Record, source: str) -> list[str]:
    if header.fault is not None:
        raise JobFailure("input_header", f"{source}: header: {header.fault.message}")
    try:
        names = [cell.decode().strip() for cell in header.cells]
    except UnicodeDecodeError as error:
        reason = not_utf8(error, "a column's name").message
        raise JobFailure("input_header", f"{source}: header: {reason}") from None
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise JobFailure(
                "input_header", f"{source}: header: column {quoted(name)} is there twice"
            )
        if name:
            seen.add(name)
    return names


class _Columns:
    """Where in a record the wanted cells are."""

    def __init__(self, names: list[str], source: str, options: ReadOptions) -> None:
        places = {name: place for place, name in enumerate(names) if name}
        if options.text_field not in places:
            raise JobFailure(
                "missing_text_field",
                f"{source}: no column {quoted(options.text_field)}; the header names {shown_names(names)}",
                field="input.text_field",
            )
        self._count = len(names)
        self._text_place = places[options.text_field]
        wanted = {options.id_field, options.text_field, *options.kept}
        self._wanted = [(name, place) for name, place in places.items() if name in wanted]
        self._source = source
        self._options = options

    def row(self, record: Record, index: int) -> Row | BadRow:
        found = len(record.cells)
        failure = record.fault
        if failure is None and found > self._count:
            reason = f"the record has more columns than the header, which has {self._count}"
            failure = RowFailure("invalid_csv", reason)
        elif failure is None and found <= self._text_place:
            reason = f"no cell for column {quoted(self._options.text_field)}: the record has {found} of {self._count}"
            failure = RowFailure("missing_text", f"{reason} columns")
        cells: dict[str, str | None] = {}
        for name, place in self._wanted:
            if place < found:
                try:
                    cells[name] = record.cells[place].decode()
                except UnicodeDecodeError as error:
                    where = f"column {quoted(name)}"
                    failure = failure or not_utf8(error, where)
        id_field = self._options.id_field
        if cells.get(id_field) == "" and id_field != self._options.text_field:
            cells[id_field] = None
        if failure is not None:
            custom_id, _ = custom_id_of(cells.get(id_field), id_field)
            return BadRow(index, failure, self._source, record.line, custom_id)
        return row_from_object(
            cells, index=index, source=self._source, line=record.line, options=self._options
        )
