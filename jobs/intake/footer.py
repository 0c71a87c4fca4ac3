"""What a Parquet file's footer says of its row groups.

pyarrow says it too, but it ends the whole process over some damage where it is asked from Python for a column's
metadata; so it is asked only for rows, where it raises. Field numbers are those of ``parquet.thrift``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from jobs.intake.thrift import I64, LIST, STRUCT, MalformedThrift, Struct, ThriftReader

#: Encodings of texts that differ only a little, or in their lengths: DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY.
_DELTA = {6, 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """One column of one row group. Nothing of this need be true."""

    start: int  #: of its first page in the file
    stored: int  #: bytes in the file
    plain: int  #: bytes decompressed
    values: int  #: nulls included
    delta: (
        bool  #: whether there are texts that are given by what they differ in from the one before
    )


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group: its rows, and the columns that are wanted, by place."""

    rows: int
    columns: dict[int, ColumnFacts]


def row_groups(footer: bytes, wanted: Collection[int]) -> list[RowGroup]:
    """The row groups of a file, with the columns at the wanted places only.

    Raises:
        MalformedThrift: the footer cannot be read, or a wanted column is not there.
    """
    reader = ThriftReader(footer)
    found: list[RowGroup] = []
    for number, kind in reader.fields():
        if (number, kind) == (4, LIST):
            inner, size = reader.list_head()
            if inner != STRUCT:
                raise MalformedThrift("the row groups are no structs")
            found = [_row_group(reader, wanted) for _ in range(size)]
        else:
            reader.pass_field(kind)
    reader.require(0)
    return found


def _row_group(reader: ThriftReader, wanted: Collection[int]) -> RowGroup:
    rows = -1
    columns: dict[int, ColumnFacts] = {}
    for number, kind in reader.fields():
        if (number, kind) == (1, LIST):
            inner, size = reader.list_head()
            if inner != STRUCT:
                raise MalformedThrift("the columns are no structs")
            columns = {}
            for place in range(size):
                if place in wanted:
                    columns[place] = _facts(reader.struct())
                else:
                    reader.pass_value(STRUCT)
        elif (number, kind) == (3, I64):
            rows = reader.integer()
        else:
            reader.pass_field(kind)
    if rows < 0 or len(columns) < len(wanted):
        raise MalformedThrift("a row group has no rows, or too few columns")
    return RowGroup(rows, columns)


def _facts(column: Struct) -> ColumnFacts:
    metadata = column.structs.get(3, Struct())
    numbers = metadata.numbers
    try:
        values, plain, stored, start = (numbers[number] for number in (5, 6, 7, 9))
    except KeyError:
        raise MalformedThrift("a column does not say where it is") from None
    if min(values, plain, stored, start) < 0:
        raise MalformedThrift("a column has a negative size")
    dictionary = numbers.get(11, 0)
    return ColumnFacts(
        start=dictionary if 0 < dictionary < start else start,
        stored=stored,
        plain=plain,
        values=values,
        delta=not _DELTA.isdisjoint(metadata.lists.get(2, [])),
    )
