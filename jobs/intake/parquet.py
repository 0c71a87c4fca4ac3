"""Rows from Parquet: a row for each of the file's, of the wanted columns only.

Importing this loads pyarrow, so it is imported where a Parquet file is read and nowhere else.

Memory holds a batch of rows and the pages that it lies in. Texts in lists are read as a dictionary, for no header says
how many of them a row has, and few bytes of a file can name one long text a million times.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet as pq

from jobs.errors import JobFailure, shorten
from jobs.intake.cells import (
    Maker,
    Meter,
    NoJsonValue,
    TooLong,
    has_dictionary,
    is_plain,
    is_text,
    maker,
    measured,
    refuser,
)
from jobs.intake.expansion import Expansion
from jobs.intake.footer import RowGroup, row_groups
from jobs.intake.objects import (
    ReadOptions,
    custom_id_of,
    not_utf8,
    quoted,
    row_from_object,
    shown_names,
    too_large,
)
from jobs.intake.pages import Chunk, PageGate
from jobs.rows import BadRow, Row, RowFailure

#: Largest footer, in bytes. Parsed it takes many times as much memory, and it is not streamed.
MAX_FOOTER = 16 << 20
#: Most rows in a batch, and about how many bytes one should hold.
BATCH_ROWS = 256
BATCH_BYTES = 8 << 20
#: Rows in a batch, shared among columns of texts that may be given as "like the one before": each may then be as long
#: as its page.
_DELTA_ROWS = 32
#: Bytes that the library reads of a column at once.
_BUFFER = 256 << 10
#: Bytes that a row counts for besides its cells, so that rows of nothing are not free.
_ROW_BYTES = 16
_MAX_DEPTH = 100
#: Bytes of a value, by physical type; of those of a fixed length the file says it.
_WIDTHS = {
    "BYTE_ARRAY": 0,
    "BOOLEAN": 1,
    "INT32": 4,
    "INT64": 8,
    "INT96": 12,
    "FLOAT": 4,
    "DOUBLE": 8,
}

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"


def parquet_rows(
    file: BinaryIO, *, source: str, first_index: int, options: ReadOptions, max_expansion: int
) -> Iterator[Row | BadRow]:
    """The rows of one file, numbered from ``first_index``; a row's line is its number in the file, from 1.

    A text may be a column of strings, or of bytes that are UTF-8. Cells become JSON values as
    :mod:`jobs.intake.cells` says. Only the cells that are read count as the row's size.

    Args:
        file: seekable; what it raises when it is read is passed on.
        max_expansion: the rows may be at most this many times as large as the file; judged all along, once more than
            :data:`jobs.intake.expansion.FREE_EXPANSION` bytes came out.

    Raises:
        JobFailure: while iterating: ``input_corrupt``, not Parquet, encrypted or damaged; ``input_expansion``, it
            expands too far or a page of it takes too much memory; ``input_header``, a wanted column is there twice;
            ``missing_text_field``, it has no text column.
    """
    yield from _Reader(file, source, options, max_expansion).rows(first_index)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    make: Maker
    plain: bool  #: whether pyarrow's own Python values are the JSON values

    def cells(self, batch: pa.RecordBatch) -> _Cells:
        """Its cells in a batch: Python values made all at once where that is cheap, else Arrow's scalars."""
        array = batch.column(self.name)
        if self.plain and array.nbytes <= BATCH_BYTES:
            with suppress(UnicodeDecodeError):  # told in its own row
                return _Cells(self.name, measured, array.to_pylist())
        return _Cells(self.name, self.make, array)


@dataclass(frozen=True, slots=True)
class _Cells:
    column: str
    make: Maker
    values: Any  #: what ``make`` takes, by place


class _Reader:
    """One file that is read."""

    def __init__(
        self, file: BinaryIO, source: str, options: ReadOptions, max_expansion: int
    ) -> None:
        self._source = source
        self._options = options
        what = f"{source}: the Parquet file"
        footer = self._footer(file)
        self._expansion = Expansion(max_expansion, read=file.seek(0, io.SEEK_END), what=what)
        with self._damage_told():
            opened = _open(file)
            names = self._wanted(opened.schema_arrow.names)
            self._leaves = _leaves(opened.schema, names)
            self._groups = row_groups(footer, {place for place, _ in self._leaves})
            facts = [one for group in self._groups for one in group.columns.items()]
            if sum(column.plain for _, column in facts) > self._expansion.allowed:
                raise self._expansion.failure()
            self._delta = {place for place, column in facts if column.delta}
            kept = [
                leaf.path
                for place, leaf in self._leaves
                if leaf.max_repetition_level > 0
                and leaf.physical_type == "BYTE_ARRAY"
                and place not in self._delta
            ]
            self._gate = PageGate(file, source)
            self._file = _open(self._gate, metadata=opened.metadata, read_dictionary=kept)
            schema = self._file.schema_arrow
            self._columns = [self._column(name, schema.field(name).type) for name in names]
            # The file itself may want further columns to be read so.
            stated = {name for name in names if has_dictionary(schema.field(name).type)}
            self._kept = {place for place, _ in _leaves(opened.schema, stated)} - self._delta

    def rows(self, first_index: int) -> Iterator[Row | BadRow]:
        line = 0
        for batch in self._batches():
            with self._damage_told():
                cells = [column.cells(batch) for column in self._columns]
            for place in range(batch.num_rows):
                yield self._row(cells, place, first_index + line, line + 1)
                line += 1

    # --- what the file holds -------------------------------------------------------------------------

    def _footer(self, file: BinaryIO) -> bytes:
        """The file's footer, once its first and last bytes are those of Parquet."""
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(4)
        file.seek(max(0, size - 8))
        tail = file.read(8)
        if _ENCRYPTED in (head, tail[4:]):
            raise self._corrupt("is encrypted; decrypt it first")
        if head != _MAGIC:
            raise self._corrupt("is none: it does not begin with 'PAR1'")
        footer = int.from_bytes(tail[:4], "little")
        if size < 12 or tail[4:] != _MAGIC or footer > size - 12:
            raise self._corrupt("is cut short or damaged: it does not end with a whole footer")
        if footer > MAX_FOOTER:
            raise self._corrupt(
                f"has a footer of {footer} bytes, at most {MAX_FOOTER} are allowed; write it with larger row groups"
            )
        file.seek(size - 8 - footer)
        return file.read(footer)

    def _wanted(self, names: list[str]) -> list[str]:
        """The wanted columns that are there, the id first."""
        options = self._options
        if options.text_field not in names:
            raise JobFailure(
                "missing_text_field",
                f"{self._source}: no column {quoted(options.text_field)}; the file has {shown_names(names)}",
                field="input.text_field",
            )
        wanted = dict.fromkeys([options.id_field, options.text_field, *options.kept])
        for name in wanted:
            if names.count(name) > 1:
                reason = f"{self._source}: column {quoted(name)} is there twice"
                raise JobFailure("input_header", reason)
        return [name for name in wanted if name in names]

    def _column(self, name: str, type_: pa.DataType) -> _Column:
        refused = name == self._options.text_field and not is_text(type_)
        make = refuser(type_) if refused else maker(type_)
        return _Column(name, make, plain=is_plain(type_) and not refused)

    # --- its rows ------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[pa.RecordBatch]:
        names = [column.name for column in self._columns]
        for place, group in enumerate(self._groups):
            with self._damage_told():
                chunks, rows = self._chunks(group)
                rows = self._gate.watch(chunks, rows)
                batches = self._file.iter_batches(
                    batch_size=rows, row_groups=[place], columns=names, use_threads=False
                )
            left = group.rows
            while True:
                with self._damage_told():
                    batch = next(batches, None)
                if batch is None:
                    break
                self._gate.release()
                left -= batch.num_rows
                yield batch
            if left:  # pyarrow ends quietly where a column does
                missing = f"row group {place + 1} has {left} rows fewer than it says"
                raise self._corrupt(f"is damaged: {missing}")

    def _chunks(self, group: RowGroup) -> tuple[list[Chunk], int]:
        """What is to be read of a row group, and how many rows at a time."""
        chunks = [
            Chunk(
                column=leaf.path,
                start=group.columns[place].start,
                size=group.columns[place].stored,
                values=group.columns[place].values,
                repeated=leaf.max_repetition_level > 0,
                width=_WIDTHS.get(leaf.physical_type, leaf.length),
                kept=place in self._kept,
            )
            for place, leaf in self._leaves
        ]
        for chunk in chunks:
            if not chunk.repeated and chunk.values != group.rows:
                found = (
                    f"{chunk.values} values of column {quoted(chunk.column)} in {group.rows} rows"
                )
                raise self._corrupt(f"is damaged: it has {found}")
        plain = sum(column.plain for column in group.columns.values())
        most = _DELTA_ROWS // len(self._delta) if self._delta else BATCH_ROWS
        return chunks, max(1, min(BATCH_BYTES * group.rows // max(1, plain), most))

    def _row(self, columns: list[_Cells], place: int, index: int, line: int) -> Row | BadRow:
        options = self._options
        meter = Meter(options.max_row_bytes)
        values: dict[str, object] = {}
        failure: RowFailure | None = None
        for column in columns:
            try:
                values[column.column] = column.make(column.values[place], meter)
            except TooLong:
                failure = too_large(meter.size, options.max_row_bytes)
                break
            except (UnicodeDecodeError, NoJsonValue) as error:
                failure = failure or self._cell_failure(column.column, error)
            except pa.ArrowException as error:  # such as a value that its dictionary does not have
                raise self._damaged(error) from None
        self._expansion.wrote(meter.size + _ROW_BYTES)
        if failure is None:
            return row_from_object(
                values, index=index, source=self._source, line=line, options=options
            )
        custom_id, _ = custom_id_of(values.get(options.id_field), options.id_field)
        return BadRow(index, failure, self._source, line, custom_id)

    def _cell_failure(self, name: str, error: UnicodeDecodeError | NoJsonValue) -> RowFailure:
        options = self._options
        field = f"field {quoted(name)}"
        if isinstance(error, UnicodeDecodeError):
            if name in (options.text_field, options.id_field):
                return not_utf8(error, field)
            return RowFailure("invalid_field", f"{field} cannot be carried along: it is not UTF-8")
        if name == options.text_field:
            return RowFailure("invalid_text", f"{field}: expected a string, found {error}")
        if name == options.id_field:
            expected = "expected a string or an integer of at most 64 bits"
            return RowFailure("invalid_custom_id", f"{field}: {expected}, found {error}")
        return RowFailure("invalid_field", f"{field} cannot be carried along: {error}")

    # --- errors --------------------------------------------------------------------------------------

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        """Make what pyarrow raises of a damaged file our own error. Errors of the file that it reads pass."""
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, IndexError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> JobFailure:
        reason = " ".join(str(error).split())
        return self._corrupt(f"cannot be read: {shorten(reason, 300)}")

    def _corrupt(self, what: str) -> JobFailure:
        return JobFailure("input_corrupt", f"{self._source}: the Parquet file {what}")


def _leaves(schema: pq.ParquetSchema, names: Collection[str]) -> list[tuple[int, pq.ColumnSchema]]:
    """The columns of the file itself that the named ones are made of, as pyarrow too takes them by name."""
    found = []
    for place in range(len(schema)):
        leaf = schema.column(place)
        steps = leaf.path.split(".")
        if any(".".join(steps[:count]) in names for count in range(1, len(steps) + 1)):
            found.append((place, leaf))
    return found


def _open(file: BinaryIO | PageGate, **options: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        file, buffer_size=_BUFFER, pre_buffer=False, schema_depth_limit=_MAX_DEPTH, **options
    )
