"""Parquet files that are damaged, or made to do harm."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from jobs.errors import JobFailure
from jobs.intake import expansion, pages
from jobs.intake.footer import row_groups
from jobs.rows import Row
from tests.unit.intake.parquetfiles import MIB, packed, read, refused

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
