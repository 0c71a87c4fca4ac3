"""The formats that rows can be had in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, get_args

from jobs.outtake.columns import Table
from jobs.outtake.csv import csv_bytes
from jobs.outtake.parquet import parquet_bytes

OutputFormat = Literal["jsonl", "csv", "parquet"]

#: What each is called in HTTP.
CONTENT_TYPES: Mapping[OutputFormat, str] = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}

FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)


def convert(
    chunks: Iterable[bytes],
    format: OutputFormat,  # noqa: A002  # the name it has in requests
    table: Table,
) -> Iterator[bytes]:
    """JSON lines in another format; as ``jsonl`` they pass as they are.

    Args:
        chunks: the lines, in chunks of any size.
        table: which columns there are.

    Raises:
        BrokenLines: while iterating: the lines do not end with a line's end.
    """
    match format:
        case "jsonl":
            return iter(chunks)
        case "csv":
            return csv_bytes(chunks, table)
        case "parquet":
            return parquet_bytes(chunks, table)
