"""Rows from Parquet: what the cells become, what is refused, and in how much memory."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.intake import ReadOptions
from jobs.intake.parquet import parquet_rows
from jobs.rows import BadRow, Row
from tests.unit.intake.parquetfiles import MIB, carried, codes, packed, read, refused


def test_rows_with_ids_and_carried_columns() -> None:
    data = packed(
        {
            "unused": [1.5, 2.5, None],
            "body": ["one", "two", "drei \N{SNOWMAN}"],
            "ticket": [7, None, 2**63 - 1],
            "country": ["AT", None, "DE"],
        }
    )
    rows = list(
        parquet_rows(
            io.BytesIO(data),
            source="in",
            first_index=10,
            options=ReadOptions(
                text_field="body", id_field="ticket", keep=frozenset(["country", "no"])
            ),
            max_expansion=100,
        )
    )
    assert rows == [
        Row(10, "one", "7", {"country": "AT"}),
        Row(11, "two", None, {"country": None}),
        Row(12, "drei \N{SNOWMAN}", str(2**63 - 1), {"country": "DE"}),
    ]
    assert [(row.source, row.line) for row in rows] == [("in", 1), ("in", 2), ("in", 3)]


texts = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
writers = st.fixed_dictionaries(
    {
        "row_group_size": st.integers(1, 40),
        "data_page_size": st.integers(10, 300),
        "compression": st.sampled_from(["snappy", "gzip", "zstd", "brotli", "lz4", "none"]),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
    }
)


@given(
    texts.filter(lambda found: all(not one.isspace() for one in found)),
    writers,
    st.sampled_from([None, "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"]),
)
def test_however_it_was_written(
    found: list[str], writer: dict[str, Any], encoding: str | None
) -> None:
    tags = pa.array([[one] * 3 for one in found], pa.list_(pa.string()))
    data = packed(
        {"text": pa.array(found, pa.string()), "tags": tags},
        use_dictionary=encoding is None,
        column_encoding=encoding and {"text": encoding},
        **writer,
    )
    rows = read(data, keep=frozenset(["tags"]))
    assert [(row.text, row.fields["tags"]) for row in rows if isinstance(row, Row)] == [
        (one, [one] * 3) for one in found
    ]
    assert [row.index for row in rows] == list(range(len(found)))
    assert [row.line for row in rows] == list(range(1, len(found) + 1))


@pytest.mark.parametrize(
    "type_",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
        pa.json_(),
    ],
    ids=str,
)
def test_every_sort_of_text(type_: pa.DataType) -> None:
    values = [one.encode() for one in ("one", "zwei \N{SNOWMAN}", "one")]
    if pa.types.is_dictionary(type_):
        array = pa.array(values, pa.binary()).cast(type_.value_type).dictionary_encode().cast(type_)
    elif isinstance(type_, pa.BaseExtensionType):
        array = pa.ExtensionArray.from_storage(type_, pa.array([v.decode() for v in values]))
    else:
        array = pa.array(values, pa.binary()).cast(type_)
    rows = read(packed({"text": array, "custom_id": array, "v": array}), keep=frozenset("v"))
    assert rows == [
        Row(n, one.decode(), one.decode(), {"v": one.decode()}) for n, one in enumerate(values)
    ]


def test_texts_that_cannot_be_worked_on() -> None:
    data = packed(
        {
            "text": pa.array(
                [b"good", None, b"", b" \n", b"a\0b", b"bad \xff", b"x" * 3000], pa.binary()
            ),
            "custom_id": ["a", "b", "c", "d", "e", "f", "g"],
        }
    )
    rows = read(data, max_row_bytes=2000)
    expected = [
        None,
        "invalid_text",
        "empty_text",
        "empty_text",
        "nul_character",
        "invalid_utf8",
        "row_too_large",
    ]
    assert codes(rows) == expected
    assert [row.custom_id for row in rows] == list("abcdefg")
    messages = [row.failure.message for row in rows if isinstance(row, BadRow)]
    assert "found null" in messages[0]
    assert "3001 bytes" in messages[-1]  # with the id


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (pa.array([7]), "int64"),
        (pa.array([7.5]), "double"),
        (pa.array([True]), "bool"),
        (pa.array([["a"]]), "list"),
        (pa.array([date(2026, 1, 2)]), "date32"),
        (pa.array([None]), "null"),
    ],
)
def test_a_text_column_of_something_else(values: pa.Array, found: str) -> None:
    (row,) = read(packed({"text": values}))
    assert isinstance(row, BadRow)
    assert row.failure.code == "invalid_text"
    assert "field 'text': expected a string, found" in row.failure.message
    assert found in row.failure.message


def test_ids_that_are_none() -> None:
    texts = ["a"]
    for values in (
        pa.array(["x" * 513]),
        pa.array([1.5]),
        pa.array([[1]]),
        pa.array([timedelta(1)]),
    ):
        assert codes(read(packed({"text": texts, "custom_id": values}))) == ["invalid_custom_id"]
    for values, expected in (
        (pa.array([None]), None),
        (pa.array([2**64 - 1], pa.uint64()), str(2**64 - 1)),
    ):
        assert [row.custom_id for row in read(packed({"text": texts, "custom_id": values}))] == [
            expected
        ]


CET = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, None, -5]), [1, None, -5]),
        (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
        (pa.array([True, False, None]), [True, False, None]),
        (pa.array([1.5, float("nan"), float("-inf")]), [1.5, None, None]),
        (pa.array([1.5], pa.float16()), [1.5]),
        (pa.array([None, None]), [None, None]),
        (pa.array([Decimal("1.20"), Decimal("-7E-2")], pa.decimal128(30, 2)), ["1.20", "-0.07"]),
        (pa.array([date(2026, 11, 23)]), ["2026-11-23"]),
        (pa.array([time(1, 2, 3, 4000)]), ["01:02:03.004"]),
        (pa.array([1], pa.time64("ns")), ["00:00:00.000000001"]),
        (pa.array([1_795_395_723_000_000], pa.timestamp("us")), ["2026-11-23T01:02:03"]),
        (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
        (pa.array([-1], pa.timestamp("ms")), ["1969-12-31T23:59:59.999"]),
        (
            pa.array(
                [datetime(2026, 11, 23, 1, 2, 3, tzinfo=CET)], pa.timestamp("ms", "Europe/Vienna")
            ),
            ["2026-11-23T00:02:03Z"],
        ),
        (pa.array([[1, None], [], None]), [[1, None], [], None]),
        (pa.array([[["a"], []], [None]]), [[["a"], []], [None]]),
        (pa.array([{"a": 1, "b": {"c": ["x"]}}, None]), [{"a": 1, "b": {"c": ["x"]}}, None]),
        (
            pa.array([[("k", 1), ("l", None)], []], pa.map_(pa.string(), pa.int64())),
            [{"k": 1, "l": None}, {}],
        ),
        (pa.array([[(1, "x")]], pa.map_(pa.int64(), pa.string())), [[{"key": 1, "value": "x"}]]),
        (pa.array([["a", "b", "a"]], pa.list_(pa.string(), 3)), [["a", "b", "a"]]),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), ["a", "b", "a", None]),
        (pa.array([b"text", None]), ["text", None]),
        (pa.array([UUID(int=5).bytes], pa.uuid()), [str(UUID(int=5))]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_carried_cells_become_json_values(values: pa.Array, expected: list[Any]) -> None:
    assert carried(values) == expected


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (pa.array([b"\xff\xfe"]), "it is not UTF-8"),
        (pa.array([[b"\xff\xfe"]]), "it is not UTF-8"),
        (pa.array([timedelta(days=1)]), "a value of type duration"),
        (pa.array([2**62], pa.timestamp("ms")), "a value of type timestamp"),
        (pa.array([[timedelta(days=1)]]), "a value of type duration"),
    ],
)
def test_carried_cells_that_have_no_json_value(values: pa.Array, why: str) -> None:
    ((code, message),) = carried(values)
    assert code == "invalid_field"
    assert message.startswith("field 'v' cannot be carried along: ")
    assert why in message


def test_a_row_is_measured_with_all_that_is_read_of_it() -> None:
    data = packed(
        {
            "text": ["a" * 600, "a" * 600, "a" * 600],
            "v": [["b" * 300], ["b" * 100] * 5, ["b"] * 100],
            "unused": ["c" * 5000] * 3,
        }
    )
    assert codes(read(data, keep=frozenset("v"), max_row_bytes=1024)) == [
        None,
        "row_too_large",
        None,
    ]


def test_columns_that_are_missing_or_there_twice() -> None:
    detail = refused(packed({"body": ["a"], "n": [1]}), "missing_text_field")
    assert "no column 'text'; the file has 'body', 'n'" in detail
    twice = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    assert "column 'text' is there twice" in refused(packed(twice), "input_header")
    nested = packed({"text": ["a"], "a": [{"b": "inner"}], "a.b": ["outer"]})
    assert read(nested, keep=frozenset(["a.b"])) == [Row(0, "a", None, {"a.b": "outer"})]


def test_no_rows() -> None:
    assert read(packed({"text": pa.array([], pa.string())})) == []
    refused(packed({"body": pa.array([], pa.string())}), "missing_text_field")


# --- memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", None])
def test_a_huge_row_group_is_not_held(encoding: str | None) -> None:
    source = random.Random(5)
    rows = 60_000
    text = [source.randbytes(400).hex() for _ in range(rows)]
    data = packed(
        {"text": text, "tags": [[one[0], one[1:3]] for one in text]},
        row_group_size=rows,
        use_dictionary=encoding is None,
        column_encoding=encoding and {"text": encoding},
    )
    pool = pa.default_memory_pool()
    before, most, seen = pool.bytes_allocated(), 0, 0
    for row in parquet_rows(
        io.BytesIO(data),
        source="in",
        first_index=0,
        options=ReadOptions(keep=frozenset(["tags"])),
        max_expansion=100,
    ):
        if row.index % 100 == 0:
            most = max(most, pool.bytes_allocated() - before)
        seen += 1
    assert seen == rows
    assert len(data) > 30 * MIB
    assert most < 16 * MIB


def test_only_who_reads_parquet_loads_the_library() -> None:
    modules = "api.app, scheduler.sweeper, workers.sources, workers.tasks, server.cli, jobs.intake"
    code = f"import sys, {modules}; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
