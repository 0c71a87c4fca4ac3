"""Rows from Parquet: what the cells become, what is refused, and in how much memory."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from jobs.errors import JobFailure
from jobs.intake import ReadOptions, expansion, pages
from jobs.intake.footer import row_groups
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


# --- damaged and hostile files -----------------------------------------------------------------------

WHOLE = packed(
    {
        "custom_id": range(500),
        "text": [f"line {n} of a text" for n in range(500)],
        "tags": [["x", "y"]] * 500,
    },
    data_page_size=500,
    row_group_size=200,
)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin with 'PAR1'"),
        (b"PAR1", "cut short"),
        (b"PAR1PAR1", "cut short"),
        (b'{"text": "a"}\n' * 9, "does not begin with 'PAR1'"),
        (WHOLE[:-1], "cut short"),
        (WHOLE[:-300], "cut short"),
        (WHOLE[:5000], "cut short"),
        (WHOLE[:-4] + b"PARE", "encrypted"),
        (b"PARE" + WHOLE[4:], "encrypted"),
        (WHOLE[:-8] + b"\xff\xff\xff\xff" + b"PAR1", "cut short or damaged"),
        (WHOLE[:-8] + b"\0\0\0\0" + b"PAR1", "cannot be read"),
        (WHOLE[:-8] + len(WHOLE[:-12]).to_bytes(4, "little") + b"PAR1", "cannot be read"),
        (
            b"PAR1" + bytes(17 * MIB) + (17 * MIB).to_bytes(4, "little") + b"PAR1",
            "at most 16777216",
        ),
        (WHOLE[:4] + bytes(4000) + WHOLE[4004:], "damaged"),
    ],
)
def test_what_is_no_whole_file(data: bytes, why: str) -> None:
    assert why in refused(data, "input_corrupt")


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=6))
def test_damage_gives_rows_or_a_clear_failure(place: int, patch: bytes) -> None:
    at = place % len(WHOLE)
    data = WHOLE[:at] + patch + WHOLE[at + len(patch) :]
    try:
        rows = read(data, keep=frozenset(["tags"]))
    except JobFailure as failure:
        code = failure.failure_code
    else:
        assert [row.index for row in rows] == list(range(len(rows)))
        return
    assert code in {"input_corrupt", "input_expansion", "missing_text_field", "input_header"}


@pytest.mark.parametrize(("values", "rows"), [(2, 1), (2, 3), (1, 2), (3, 3)])
def test_a_wrong_number_of_rows_is_seen(values: int, rows: int) -> None:
    """Rows that are cut off must not pass for a shorter file."""
    data = packed({"text": ["one", "two"]}, write_statistics=False, store_schema=False)
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer = data[start:-8]
    assert row_groups(footer, {0})[0].rows == 2
    # The column's values, after its codec and before its size; the group's rows, before its first page.
    footer = footer.replace(b"\x15\x02\x16\x04\x16", b"\x15\x02\x16" + zigzag(values) + b"\x16")
    footer = footer.replace(b"\x16\x04\x26\x08", b"\x16" + zigzag(rows) + b"\x26\x08")
    group = row_groups(footer, {0})[0]
    assert (group.columns[0].values, group.rows) == (values, rows)
    assert "the Parquet file" in refused(data[:start] + footer + data[-8:], "input_corrupt")


def test_damage_over_which_the_library_would_end_the_process() -> None:
    """A column's statistics do not fit the schema: asked for that column's metadata, pyarrow 26 aborts."""
    data = packed({"tags": [["x"], ["y"]], "text": ["a", "b"]}, store_schema=False)
    optional, required = b"\x35\x02\x18\x04tags", b"\x35\x00\x18\x04tags"
    assert data.count(optional) == 1
    refused(data.replace(optional, required), "input_corrupt", keep=frozenset(["tags"]))


def test_a_value_that_its_dictionary_does_not_have() -> None:
    data = packed({"text": ["a"] * 9, "tags": [["x"], ["y"], ["z"]] * 3}, compression="none")
    # A page of dictionary entries: four bytes of length and one of text each. One entry goes.
    entries = b"".join(b"\x01\0\0\0" + letter for letter in (b"x", b"y", b"z"))
    assert data.count(entries) == 1
    one = b"\x0b\0\0\0" + b"x" * 11
    broken = data.replace(entries, one)
    at = broken.index(one)
    header = broken.rindex(b"\x15\x04\x15", 0, at)  # a dictionary; its sizes follow
    changed = broken[header:at].replace(b"\x15\x06", b"\x15\x02", 1)  # values: three, now one
    assert changed != broken[header:at]
    detail = refused(
        broken[:header] + changed + broken[at:], "input_corrupt", keep=frozenset(["tags"])
    )
    assert "out-of-bounds" in detail


def test_a_bomb_by_its_own_words() -> None:
    data = packed(
        {"text": ["\0" * 64 * MIB, "\0" * 16 * MIB]}, compression="zstd", use_dictionary=False
    )
    assert "expands too far" in refused(data, "input_expansion")


def understated(data: bytes, sizes: list[int]) -> bytes:
    """The same file with other sizes in its footer: what pages hold is then larger than the metadata say."""
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    tail = data[footer:]
    for size in sizes:
        number = zigzag(size)
        assert number in tail
        tail = tail.replace(number, zigzag(size % 1000, len(number)))
    return data[:footer] + tail


def zigzag(value: int, length: int = 0) -> bytes:
    value <<= 1
    out = bytearray()
    while value >= 0x80 or len(out) < length - 1:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def column(data: bytes) -> Any:
    return pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)


def test_a_bomb_that_denies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of which the footer says that it is small."""
    monkeypatch.setattr(pages, "MAX_HELD", 32 * MIB)
    data = packed(
        {"text": ["a" * (48 * MIB)]},
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )
    data = understated(data, [column(data).total_uncompressed_size])
    assert column(data).total_uncompressed_size < MIB
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    detail = refused(data, "input_expansion")
    assert "column 'text' cannot be read in bounded memory" in detail
    assert pool.bytes_allocated() - before < MIB


def test_one_long_text_named_very_often() -> None:
    """A dictionary of one entry: each row is small in the file and large when it is read."""
    array = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["b" * 100_000])
    plain = packed({"text": array}, compression="zstd")
    assert len(plain) < MIB
    assert "expands too far" in refused(plain, "input_expansion")
    stripped = packed({"text": array}, compression="zstd", store_schema=False)
    assert "expands too far" in refused(stripped, "input_expansion")


def test_rows_of_nothing_are_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "FREE_EXPANSION", 4 * MIB)
    data = packed({"text": pa.nulls(300_000, pa.string())})
    assert len(data) < 10_000
    assert "expands too far" in refused(data, "input_expansion")


def test_one_row_of_countless_list_entries() -> None:
    entries = pa.ListArray.from_arrays([0, 9 * MIB], pa.nulls(9 * MIB, pa.int8()))
    data = packed({"text": ["a"], "v": entries}, data_page_size=1 << 30)
    assert len(data) < MIB
    assert read(data) == [Row(0, "a")]  # what is not asked for does no harm
    detail = refused(data, "input_expansion", keep=frozenset("v"))
    assert "column 'v.list.element' cannot be read in bounded memory" in detail


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
