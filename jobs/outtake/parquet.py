"""Rows as Parquet, compressed by zstd, written while the rows come.

A row group is written once a few MiB of lines are there, and leaves at once; only the footer, a few hundred bytes for
each row group and column, is kept until the end. A stream that broke has no footer: nobody can take it for a whole.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from jobs.outtake.columns import Cell, Table
from jobs.outtake.lines import split_lines

#: Bytes of JSON lines that make a row group: the memory that one stream takes, several times over.
GROUP_BYTES = 4 << 20


def parquet_bytes(chunks: Iterable[bytes], table: Table) -> Iterator[bytes]:
    """JSON lines as Parquet.

    Raises:
        BrokenLines: while iterating: the lines do not end with a line's end.
    """
    # Here, so that nobody pays tens of megabytes and half a second for a format that nobody asks for.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = {"double": pa.float64(), "int64": pa.int64(), "boolean": pa.bool_()}
    schema = pa.schema(
        [(column.name, types.get(column.type, pa.string())) for column in table.columns]
    )
    sink = _Sink()
    writer = pq.ParquetWriter(sink, schema, compression="zstd")
    for group in _groups(chunks, table):
        arrays = [pa.array(cells, field.type) for cells, field in zip(group, schema, strict=True)]
        writer.write_batch(pa.record_batch(arrays, schema=schema))
        yield sink.take()
    writer.close()
    yield sink.take()


def _groups(chunks: Iterable[bytes], table: Table) -> Iterator[list[list[Cell]]]:
    """The cells of each row group, by column."""
    columns: list[list[Cell]] = [[] for _ in table.columns]
    size = 0
    for line in split_lines(chunks):
        for column, cell in zip(columns, table.cells(orjson.loads(line)), strict=True):
            column.append(cell)
        size += len(line)
        if size >= GROUP_BYTES:
            yield columns
            columns = [[] for _ in table.columns]
            size = 0
    if size:
        yield columns


class _Sink(io.RawIOBase):
    """Where the writer writes to: keeps the bytes until they are taken."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken
