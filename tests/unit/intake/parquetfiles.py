"""Parquet files for tests, and what is read of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from jobs.errors import JobFailure
from jobs.intake import ReadOptions
from jobs.intake.parquet import parquet_rows
from jobs.rows import BadRow, Row

MIB = 1 << 20


def packed(table: pa.Table | Mapping[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(dict(table)), out, **options)
    return out.getvalue()


def read(data: bytes, *, max_expansion: int = 100, **options: Any) -> list[Row | BadRow]:
    return list(
        parquet_rows(
            io.BytesIO(data),
            source="in",
            first_index=0,
            options=ReadOptions(**options),
            max_expansion=max_expansion,
        )
    )


def refused(data: bytes, code: str, **options: Any) -> str:
    with pytest.raises(JobFailure) as failure:
        read(data, **options)
    assert failure.value.failure_code == code
    assert failure.value.detail.startswith("in: ")
    return failure.value.detail


def codes(rows: list[Row | BadRow]) -> list[str | None]:
    return [row.failure.code if isinstance(row, BadRow) else None for row in rows]


def carried(values: pa.Array) -> list[Any]:
    """What the values of a column become."""
    rows = read(packed({"text": ["a"] * len(values), "v": values}), keep=frozenset("v"))
    return [
        row.fields["v"] if isinstance(row, Row) else (row.failure.code, row.failure.message)
        for row in rows
    ]
