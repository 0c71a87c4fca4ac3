"""CSV and Parquet say what the lines said, whatever the texts hold and however the stream was cut."""

from __future__ import annotations

import csv
import io
import itertools
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.outtake import ErrorTable, OutputFormat, ResultTable, Table, convert
from jobs.outtake.columns import Cell, ColumnType
from jobs.outtake.lines import BrokenLines
from tests.unit.outtake.lines import TEXTS, VALUES, cut, failed, result

ROOT = Path(__file__).parents[3]

TYPES: dict[str, ColumnType] = {
    "text": "string",
    "share": "double",
    "count": "int64",
    "sure": "boolean",
}
TABLE = ResultTable(TYPES, carried=False)

OUTPUTS = st.fixed_dictionaries(
    {},
    optional={
        "text": TEXTS,
        "share": st.floats(allow_nan=False, allow_infinity=False),
        "count": st.integers(-(2**63), 2**64 - 1),
        "sure": st.booleans(),
        "more": VALUES,
    },
)
CUTS = st.integers(1, 300)


def expected(data: bytes, table: Table) -> list[list[Cell]]:
    """The cells that a table of these lines must have."""
    return [table.cells(orjson.loads(line)) for line in data.split(b"\n")[:-1]]


def whole(data: bytes, format: OutputFormat, table: Table, size: int = 1 << 20) -> bytes:  # noqa: A002
    return b"".join(convert(cut(data, size), format, table))


def read_csv(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))


def read_parquet(content: bytes) -> tuple[pa.Schema, list[list[Any]]]:
    found = pq.read_table(pa.BufferReader(content))
    return found.schema, [list(row.values()) for row in found.to_pylist()]


def as_text(cell: Cell) -> str:
    if cell is None or isinstance(cell, str):
        return cell or ""
    return str(cell).lower() if isinstance(cell, bool) else repr(cell)


@given(st.lists(st.tuples(OUTPUTS, st.none() | TEXTS), max_size=5), CUTS)
def test_results_survive_the_way_into_csv_and_parquet(
    rows: list[tuple[dict[str, Any], str | None]], size: int
) -> None:
    data = b"".join(result(at, output, custom_id) for at, (output, custom_id) in enumerate(rows))
    wanted = expected(data, TABLE)
    names = [column.name for column in TABLE.columns]
    header, *records = read_csv(whole(data, "csv", TABLE, size))
    assert (header, records) == (names, [[as_text(cell) for cell in row] for row in wanted])
    schema, found = read_parquet(whole(data, "parquet", TABLE, size))
    assert found == wanted
    assert schema.names == names
    assert [str(schema.field(name).type) for name in ("index", "output", *TYPES)] == [
        *("int64", "string"),
        *("string", "double", "int64", "bool"),
    ]


@given(st.lists(st.tuples(TEXTS, st.none() | TEXTS), max_size=5), CUTS)
def test_errors_survive_the_way_into_csv_and_parquet(
    rows: list[tuple[str, str | None]], size: int
) -> None:
    data = b"".join(failed(at, message, custom_id) for at, (message, custom_id) in enumerate(rows))
    wanted = expected(data, ErrorTable())
    _, *records = read_csv(whole(data, "csv", ErrorTable(), size))
    assert records == [[as_text(cell) for cell in row] for row in wanted]
    assert read_parquet(whole(data, "parquet", ErrorTable(), size))[1] == wanted


def test_csv_is_as_rfc_4180_wants_it() -> None:
    lines = [
        result(0, {"text": 'a "b", c', "share": 1e-7, "sure": True}, ""),
        result(1, {"text": "=1+1\r\nä", "count": -5}, " r1"),
        result(2, {"text": "plain", "more": {"a": 1}}),
    ]
    assert whole(b"".join(lines), "csv", TABLE).decode() == (
        "index,custom_id,text,share,count,sure,output,input_tokens,output_tokens\r\n"
        '0,"","a ""b"", c",1e-07,,true,,3,5\r\n'
        '1," r1","=1+1\r\nä",,-5,,,3,5\r\n'
        '2,,plain,,,,"{""more"":{""a"":1}}",3,5\r\n'
    )


@pytest.mark.parametrize("table", [TABLE, ErrorTable()])
def test_without_rows_there_are_still_columns(table: Table) -> None:
    names = [column.name for column in table.columns]
    assert read_csv(whole(b"", "csv", table)) == [names]
    schema, rows = read_parquet(whole(b"", "parquet", table))
    assert (schema.names, rows) == (names, [])


def test_jsonl_passes_as_it_is() -> None:
    data = result(0, {"text": "ä"}) + result(1, {})
    assert whole(data, "jsonl", TABLE, 7) == data


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_a_stream_that_breaks_off_is_no_whole_file(format_: OutputFormat) -> None:
    data = result(0, {"text": "a"}) + result(1, {"text": "b"})
    with pytest.raises(BrokenLines, match="breaks off after"):
        whole(data[:-1], format_, TABLE)

    def faulty() -> Iterator[bytes]:
        yield data * 40_000  # enough for a row group
        raise ConnectionError("the store went away")

    given_out: list[bytes] = []
    with pytest.raises(ConnectionError, match="went away"):
        given_out.extend(convert(faulty(), format_, TABLE))
    assert given_out
    if format_ == "parquet":
        with pytest.raises(pa.ArrowInvalid):
            read_parquet(b"".join(given_out))


def test_parquet_goes_out_in_row_groups() -> None:
    lines = [result(at, {"text": "text " * 50, "count": at}) for at in range(40_000)]
    chunks = list(convert(cut(b"".join(lines), 1 << 20), "parquet", TABLE))
    file = pq.ParquetFile(pa.BufferReader(b"".join(chunks)))
    assert file.metadata.num_row_groups == len(chunks) - 1 > 2
    assert file.metadata.row_group(0).column(2).compression == "ZSTD"
    assert file.read(["count"])["count"].to_pylist() == list(range(40_000))


@pytest.mark.parametrize(("format_", "most"), [("csv", 4 << 20), ("parquet", 20 << 20)])
def test_memory_does_not_grow_with_rows(format_: OutputFormat, most: int) -> None:
    piece = b"".join(result(at, {"text": f"{at} " * 99, "share": 0.5}) for at in range(1800))
    assert 1 << 19 < len(piece) < 1 << 20  # the store gives at most 1 MiB at once
    whole(result(0, {}), format_, TABLE)  # libraries load before anything is measured
    before = pa.total_allocated_bytes()
    arrow = 0
    tracemalloc.start()
    for chunk in convert(itertools.repeat(piece, 32), format_, TABLE):
        arrow = max(arrow, pa.total_allocated_bytes() - before)
        assert len(chunk) < 8 << 20
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < most
    assert arrow < 16 << 20


def test_nothing_loads_pyarrow_before_it_is_wanted() -> None:
    program = (
        "import sys, api.app, nlp.kinds\n"
        "from jobs.outtake import ErrorTable, convert\n"
        "list(convert([], 'csv', ErrorTable()))\n"
        "print('pyarrow' in sys.modules)\n"
        "list(convert([], 'parquet', ErrorTable()))\n"
        "print('pyarrow' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
