"""Rows as lines: what goes in comes out, and the same row always gives the same bytes."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from jobs.rows import (
    BadRow,
    CarriedRow,
    Marks,
    Row,
    RowFailure,
    Success,
    Usage,
    decode_shard_line,
    decode_shard_row,
    encode_carried_row,
    encode_shard_row,
    error_line,
    result_line,
    work_bytes,
)

MARKS = Marks(b"d" * 16, b"n" * 16)

text = st.text(st.characters(codec="utf-8"))
index = st.integers(0, 10**12)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
rows = st.builds(Row, index, text, st.none() | text, st.dictionaries(text, values, max_size=4))
failures = st.builds(RowFailure, text, text)
bad_rows = st.builds(BadRow, index, failures, text, st.integers(1, 10**12), st.none() | text)


@given(rows | bad_rows)
def test_a_shard_row_comes_back(row: Row | BadRow) -> None:
    line = encode_shard_row(row)
    assert decode_shard_row(line) == row
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1


@given(rows, st.dictionaries(text, values, max_size=3), index, index, st.lists(text, max_size=2))
def test_a_carried_row_becomes_the_line_that_it_was(
    row: Row, output: dict[str, Any], tokens_in: int, tokens_out: int, carry: list[str]
) -> None:
    line = result_line(row, Success(output, Usage(tokens_in, tokens_out)), tuple(carry))
    before = orjson.loads(line)
    made = orjson.dumps({"output": before["output"], "usage": before["usage"]})
    for keep in (carry, None):
        travelling = encode_carried_row(row, made, MARKS, keep)
        assert len(travelling.splitlines()) == 1
        assert work_bytes(travelling) < len(travelling)
        carried = decode_shard_line(travelling)
        assert isinstance(carried, CarriedRow)
        assert result_line(carried.row, carried.success, tuple(carry)) == line
        assert (carried.index, carried.row.source, carried.row.line) == (
            row.index,
            row.source,
            row.line,
        )
        if keep is None:
            assert carried.row == row


@given(rows | bad_rows)
def test_other_rows_are_work(row: Row | BadRow) -> None:
    line = encode_shard_row(row, MARKS)
    assert work_bytes(line) == len(line)
    assert decode_shard_line(line) == row


@given(rows, st.dictionaries(text, values, max_size=3), index, index)
def test_a_result_line(row: Row, output: dict[str, Any], tokens_in: int, tokens_out: int) -> None:
    line = result_line(row, Success(output, Usage(tokens_in, tokens_out)))
    assert orjson.loads(line) == {
        "custom_id": row.custom_id,
        "index": row.index,
        "output": output,
        "usage": {"input_tokens": tokens_in, "output_tokens": tokens_out},
    }
    assert len(line.splitlines()) == 1


def test_bytes_of_a_result_never_change() -> None:
    row = Row(3, "text", "a-1", {"country": "de", "age": 4})
    line = result_line(row, Success({"label": "x"}, Usage(5, 0)), ("country", "missing"))
    assert line == (
        b'{"custom_id":"a-1","index":3,"output":{"label":"x"},'
        b'"usage":{"input_tokens":5,"output_tokens":0},"fields":{"country":"de","missing":null}}\n'
    )


def test_bytes_of_an_error_never_change() -> None:
    failure = RowFailure("missing_text", "no text")
    assert error_line(Row(3, "text", "a", {}, "a.csv", 4), failure) == (
        b'{"custom_id":"a","index":3,"error":{"code":"missing_text","message":"no text"},'
        b'"source":"a.csv","line":4}\n'
    )


@given(bad_rows)
def test_a_bad_row_is_its_error_line_already(row: BadRow) -> None:
    assert encode_shard_row(row) == error_line(row, row.failure)


def test_a_good_row_keeps_its_place_on_the_way() -> None:
    row = decode_shard_row(encode_shard_row(Row(3, "text", "a", {}, "a.csv", 4)))
    assert (row.source, row.line) == ("a.csv", 4)


def test_usage_adds_up() -> None:
    assert Usage(1, 2) + Usage(3, 4) == Usage(4, 6)
