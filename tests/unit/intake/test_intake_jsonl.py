"""Rows from JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import JobFailure
from jobs.rows import BadRow, Row

Read = Callable[..., list[Row | BadRow]]

good_rows = st.fixed_dictionaries(
    {"text": st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text)},
    optional={"custom_id": st.none() | st.text(max_size=20).filter(lambda text: "\0" not in text)},
)


@given(
    st.lists(good_rows, max_size=8),
    st.sampled_from(["\n", "\r\n", "\n\n", "\r\n \t\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_round_trip(
    read: Read, rows: list[dict[str, str]], end: str, ascii_only: bool, mark: bool
) -> None:
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    data = ("\ufeff" if mark else "").encode() + text.encode()
    expected = [Row(i, row["text"], row.get("custom_id")) for i, row in enumerate(rows)]
    assert read(data, "jsonl") == expected
    if rows:
        assert read(data + end.encode(), "jsonl") == expected


def test_blank_lines_count_as_lines_but_not_as_rows(read: Read) -> None:
    rows = read(b'\n{"text": "a"}\n  \n\r\n[]\n\n', "jsonl")
    assert rows[0] == Row(0, "a")
    assert isinstance(rows[1], BadRow)
    assert (rows[1].index, rows[1].line, rows[1].source) == (1, 5, "in")
    assert len(rows) == 2


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\n  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_no_rows(read: Read, data: bytes) -> None:
    assert read(data, "jsonl") == []


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (b"nul", "invalid_json", "column 4"),
        (b'{"text": "a",}', "invalid_json", "trailing comma is not allowed at column 13"),
        (b'{"text": "a"} {"text": "b"}', "invalid_json", "column 15"),
        (b'{"text": NaN}', "invalid_json", "column 10"),
        (b'{"text": "\\ud800"}', "invalid_json", "surrogate"),
        (b'{"text": "a\tb"}', "invalid_json", "control character"),
        (b'\xef\xbb\xbf{"text": "a"}', "invalid_json", "column 1"),
        (b"\0", "invalid_json", "column 1"),
        (b'{"text": "a\xff"}', "invalid_utf8", "byte 0xff at offset 11 of the line"),
        (b'{"text": "\xc3"}', "invalid_utf8", "byte 0xc3 at offset 10"),
        (b'{"text": "\xed\xa0\x80"}', "invalid_utf8", "offset 10"),
        (b"[" * 100_000, "invalid_json", "depth"),
        (b'{"a":' * 100_000, "invalid_json", "depth"),
        (b"[" * 5_000 + b"]" * 5_000, "invalid_json", "depth"),
        (b"[" * 1_000 + b"]" * 1_000, "not_an_object", "found an array"),
        (b'{"text": "a", "custom_id": 18446744073709551616}', "invalid_custom_id", "64 bits"),
        (b'{"text": 123456789012345678901234567890}', "invalid_text", "found a number"),
        (b'{"text": "a\\u0000"}', "nul_character", "position 1"),
    ],
)
def test_a_hostile_line_is_one_bad_row(read: Read, line: bytes, code: str, says: str) -> None:
    rows = read(b'{"text": "before"}\n' + line + b'\n{"text": "after"}', "jsonl")
    assert rows[0] == Row(0, "before")
    assert rows[2:] == [Row(2, "after")]
    bad = rows[1]
    assert isinstance(bad, BadRow)
    assert (bad.index, bad.line, bad.failure.code) == (1, 2, code)
    assert says in bad.failure.message


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("size", [63, 64, 65, 200_000])
def test_the_limit_is_on_the_line_without_its_end(read: Read, size: int, end: bytes) -> None:
    line = orjson.dumps({"text": "x" * (size - 11)})
    assert len(line) == size
    (row,) = read(line + end, "jsonl", max_row_bytes=64)
    if size <= 64:
        assert row == Row(0, "x" * (size - 11))
    else:
        assert isinstance(row, BadRow)
        assert row.failure.code == "row_too_large"
        assert f"has {size} bytes, at most 64" in row.failure.message


def test_a_repeated_name_means_its_last_value(read: Read) -> None:
    assert read(b'{"text": "a", "text": "b"}', "jsonl") == [Row(0, "b")]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ('{"text": "a"}'.encode("utf-16"), "in is UTF-16; convert it to UTF-8"),
        ('{"text": "a"}'.encode("utf-32"), "is UTF-16; convert"),
        (b"\xfe\xff\0{", "is UTF-16; convert"),
        (b"\0\0\xfe\xff\0\0\0{", "is UTF-32; convert"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\x28\xb5\x2f\xfd\0", "Zstandard.*ends in .zst"),
        (b"PAR1\x15\x04", "is Parquet"),
    ],
)
def test_another_encoding_fails_the_job(read: Read, data: bytes, says: str) -> None:
    with pytest.raises(JobFailure, match=says) as failure:
        read(data, "jsonl")
    assert failure.value.failure_code == "input_encoding"
