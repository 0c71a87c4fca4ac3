"""One JSON value, made into a row."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.intake import ReadOptions, row_from_object
from jobs.rows import BadRow, Row, encode_shard_row


def one(value: object, **options: Any) -> Row | BadRow:
    return row_from_object(value, index=7, source="items", line=3, options=ReadOptions(**options))


def test_a_good_row() -> None:
    assert one({"text": " a ", "custom_id": "x", "more": 1}) == Row(7, " a ", "x", {})


def test_fields_are_named_by_the_options() -> None:
    value = {"body": "a", "ticket": 5, "text": 1, "custom_id": []}
    assert one(value, text_field="body", id_field="ticket") == Row(7, "a", "5", {})


def test_kept_fields_come_in_one_order_and_missing_ones_are_absent() -> None:
    value = {"z": None, "text": "t", "a": [{"deep": 1.5}], "b": True}
    row = one(value, keep=frozenset({"z", "a", "b", "missing", "text"}))
    assert isinstance(row, Row)
    assert list(row.fields.items()) == [
        ("a", [{"deep": 1.5}]), ("b", True), ("text", "t"), ("z", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "code", "says"),
    [
        (None, "not_an_object", "expected a JSON object, found null"),
        ([{"text": "a"}], "not_an_object", "found an array"),
        ("text", "not_an_object", "found a string"),
        (True, "not_an_object", "found a boolean"),
        (1.5, "not_an_object", "found a number"),
        ({}, "missing_text", "no field 'text'; the row is empty"),
        ({"txt": "a", "id": 1}, "missing_text", "no field 'text'; the row has 'txt', 'id'"),
        ({"text": None}, "invalid_text", "expected a string, found null"),
        ({"text": 5}, "invalid_text", "found a number"),
        ({"text": {"en": "a"}}, "invalid_text", "found an object"),
        ({"text": ""}, "empty_text", "'text' is empty"),
        ({"text": " \t\r\n\u3000\xa0"}, "empty_text", "'text' is empty"),
        ({"text": "ab\0"}, "nul_character", "field 'text': NUL character at position 2"),
        ({"text": "a", "custom_id": "\0"}, "nul_character", "field 'custom_id'"),
        ({"text": "a", "custom_id": "x" * 513}, "invalid_custom_id", "512 characters"),
        ({"text": "a", "custom_id": True}, "invalid_custom_id", "found a boolean"),
        ({"text": "a", "custom_id": 1.0}, "invalid_custom_id", "found a number"),
        ({"text": "a", "custom_id": 2**64}, "invalid_custom_id", "at most 64 bits"),
        ({"text": "a", "custom_id": ["x"]}, "invalid_custom_id", "found an array"),
        ({"text": "é" * 33}, "row_too_large", "the row has 66 bytes, at most 64 are allowed"),
    ],
)
def test_bad_rows(value: object, code: str, says: str) -> None:
    row = one(value, max_row_bytes=64)
    assert isinstance(row, BadRow)
    assert (row.index, row.source, row.line, row.custom_id) == (7, "items", 3, None)
    assert row.failure.code == code
    assert says in row.failure.message


@pytest.mark.parametrize("text", [None, 5, "", "\0", "x" * 100])
def test_a_bad_row_keeps_its_id(text: object) -> None:
    row = one({"text": text, "custom_id": "k"}, max_row_bytes=64)
    assert isinstance(row, BadRow)
    assert row.custom_id == "k"


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [(None, None), ("", ""), ("é" * 512, "é" * 512), (0, "0"), (-(2**63), str(-(2**63)))],
)
def test_ids(given_id: object, kept: str | None) -> None:
    assert one({"text": "a", "custom_id": given_id}) == Row(7, "a", kept, {})


def test_many_and_long_names_are_shortened() -> None:
    row = one({f"{'n' * 1000}{i}\n": 1 for i in range(1000)})
    assert isinstance(row, BadRow)
    assert len(row.failure.message) < 1000
    assert row.failure.message.endswith(", …")
    assert "\n" not in row.failure.message


@pytest.mark.parametrize("depth", [1, 200, 249, 250, 251, 252, 253, 254, 300, 1000])
def test_whatever_is_kept_can_be_written_to_a_shard(depth: int) -> None:
    nested = orjson.loads(b"[" * depth + b"]" * depth)
    row = one({"text": "a", "custom_id": "k", "deep": nested}, keep=frozenset({"deep"}))
    assert encode_shard_row(row)
    assert isinstance(row, Row) is (depth <= 250)
    if isinstance(row, BadRow):
        assert (row.failure.code, row.custom_id) == ("invalid_field", "k")


def test_an_integer_beyond_64_bits_cannot_be_kept() -> None:
    row = one({"text": "a", "n": 2**64}, keep=frozenset({"n"}))
    assert isinstance(row, BadRow)
    assert row.failure.code == "invalid_field"
    assert "'n'" in row.failure.message


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["text", "custom_id", "a", "b"]), json_values) | json_values)
def test_any_json_value_becomes_a_row_that_can_be_written(value: object) -> None:
    row = one(value, keep=frozenset({"a", "b"}))
    assert orjson.loads(encode_shard_row(row))["index"] == 7
    if isinstance(row, Row):
        assert isinstance(value, dict)
        assert row.text == value["text"]
        assert row.fields == {name: value[name] for name in ("a", "b") if name in value}
