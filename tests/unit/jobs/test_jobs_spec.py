"""What a submission may say, and how a wrong one is told."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from jobs.errors import InvalidRequest, MalformedBody
from jobs.params import validate
from jobs.spec import JobSpec
from jobs.states import Priority

ITEMS = {"items": [{"text": "Great value."}]}
GOOD = {"kind": "classify", "input": ITEMS}


def parse(body: Any) -> JobSpec:
    return validate(JobSpec, orjson.dumps(body))


def test_what_is_left_out_has_its_default() -> None:
    spec = parse(GOOD)
    assert (spec.priority, spec.params, spec.metadata) == (Priority.NORMAL, {}, {})
    assert (spec.model, spec.name, spec.max_errors) == (None, None, None)
    assert (spec.input.text_field, spec.input.id_field, spec.input.carry) == (
        "text",
        "custom_id",
        [],
    )


def test_everything_said_is_kept() -> None:
    body = {
        "kind": "classify",
        "model": "registry:tickets@prod",
        "name": "nightly",
        "input": {"uri": "s3://corpora/a/*.jsonl.gz", "format": "csv", "carry": ["country"]},
        "params": {"top_k": 3},
        "priority": "high",
        "max_errors": "1.5%",
        "metadata": {"team": "support"},
    }
    spec = parse(body)
    assert spec.model_dump(mode="json", exclude_unset=True) == body
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"kind": None}, "kind", "string"),
        ({"kind": 1}, "kind", "string"),
        ({"input": None}, "input", "object"),
        ({"input": {}}, "input", "exactly one of items, file, uri and job, found none of them"),
        ({"input": {**ITEMS, "file": "file_x"}}, "input", "found items and file"),
        ({"input": {"items": []}}, "input.items", "at least 1"),
        ({"input": {"items": "x"}}, "input.items", "array"),
        ({"input": {"items": ["x"] * 1001}}, "input.items", "at most 1000"),
        ({"input": {**ITEMS, "format": "xml"}}, "input.format", "'jsonl'"),
        ({"input": {**ITEMS, "text_field": ""}}, "input.text_field", "at least 1"),
        ({"input": {**ITEMS, "id_field": 3}}, "input.id_field", "string"),
        ({"input": {**ITEMS, "carry": ["a", 1]}}, "input.carry.1", "string"),
        ({"input": {**ITEMS, "colour": 1}}, "input.colour", "unknown field"),
        ({"input": {"uri": "http://x/y"}}, "input.uri", "s3://bucket/key"),
        ({"input": {"uri": "s3://bucket"}}, "input.uri", "s3://bucket/key"),
        ({"input": {"uri": "s3://Bucket/key"}}, "input.uri", "s3://bucket/key"),
        ({"input": {"uri": "s3://bucket/a/../b"}}, "input.uri", "'..' is not allowed"),
        ({"input": {"uri": "s3://bucket/a\nb"}}, "input.uri", "s3://bucket/key"),
        ({"input": {"uri": "s3://bucket/" + "a" * 1024}}, "input.uri", "at most 1024"),
        ({"colour": "red"}, "colour", "unknown field"),
        ({"name": "x" * 201}, "name", "at most 200"),
        ({"params": []}, "params", "object"),
        ({"priority": "urgent"}, "priority", "'high', 'normal' or 'low'"),
        ({"priority": 1}, "priority", "'high', 'normal' or 'low'"),
        ({"max_errors": -1}, "max_errors", "at least 0"),
        ({"max_errors": True}, "max_errors", "number of rows"),
        ({"max_errors": 1.5}, "max_errors", "number of rows"),
        ({"max_errors": 10**30}, "max_errors", "number of rows"),
        ({"max_errors": "1"}, "max_errors", "percentage"),
        ({"max_errors": "101%"}, "max_errors", "percentage"),
        ({"max_errors": "-1%"}, "max_errors", "percentage"),
        ({"max_errors": "\u0661%"}, "max_errors", "percentage"),
        ({"max_errors": []}, "max_errors", "percentage"),
        ({"metadata": {"a": 1}}, "metadata.a", "string"),
        ({"metadata": {"a": "x" * 501}}, "metadata.a", "at most 500"),
        ({"metadata": {str(n): "" for n in range(51)}}, "metadata", "at most 50"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(JobSpec, json.dumps(GOOD | change).encode())
    (found,) = caught.value.fields
    assert found.field == field
    assert reason in found.reason
    assert caught.value.detail.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("layout", "shown"),
    [({}, {}), ({"layout": None}, {}), ({"layout": "date"}, {"layout": "date"})],
)
def test_a_layout_that_was_not_given_is_no_part_of_the_body(
    layout: dict[str, Any], shown: dict[str, Any]
) -> None:
    """Hashes of bodies of before there were layouts stand in stores."""
    output = {"format": "csv", "uri": "s3://corpora/a/"}
    parsed = validate(JobSpec, json.dumps(GOOD | {"output": output | layout}).encode())
    assert parsed.model_dump(mode="json")["output"] == output | shown


@pytest.mark.parametrize("missing", ["kind", "input"])
def test_a_missing_field_is_named(missing: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse({name: value for name, value in GOOD.items() if name != missing})
    assert [field.field for field in caught.value.fields] == [missing]


def test_every_wrong_field_is_named_at_once() -> None:
    body = {**GOOD, "priority": "x", "colour": 1, "name": 2, "params": 3}
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    assert {field.field for field in caught.value.fields} == {
        "priority",
        "colour",
        "name",
        "params",
    }
    assert "(and 1 more)" in caught.value.detail


def test_values_are_shown_shortened_and_only_when_simple() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse({**GOOD, "priority": "x" * 1000, "name": ["a"]})
    shown = {field.field: field.value for field in caught.value.fields}
    assert shown["priority"] == "x" * 119 + "…"
    assert shown["name"] is None


@pytest.mark.parametrize(
    ("max_errors", "rows", "share"),
    [
        (None, None, None),
        (0, 0, None),
        (7, 7, None),
        ("0%", None, 0.0),
        ("1%", None, 0.01),
        ("100%", None, 1.0),
        ("0.0001%", None, 0.000001),
    ],
)
def test_max_errors(max_errors: int | str | None, rows: int | None, share: float | None) -> None:
    spec = parse(GOOD | {"max_errors": max_errors})
    assert spec.max_error_rows == rows
    assert spec.max_error_share == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"kind=classify",
        b"\xff",
        b'{"kind": "\xff"}',
        b'{"kind": "\\ud800", "input": {"items": ["x"]}}',
        b'{"kind": "c", "input": {"items": [NaN]}}',
        b'{"kind": "c", "input": {"items": [Infinity]}}',
        b"[" * 100_000,
        b'{"kind": "c", "input": {"items": [' + b"[" * 230 + b"]" * 230 + b"]}}",
    ],
)
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(MalformedBody):
        validate(JobSpec, data)


@pytest.mark.parametrize("data", [b"[]", b"null", b'"x"', b"1"])
def test_json_that_is_no_object(data: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(JobSpec, data)
    assert [field.field for field in caught.value.fields] == ["body"]


def test_every_spec_that_is_taken_can_be_written_again() -> None:
    data = b'{"kind": "c", "input": {"items": [1' + b"0" * 40 + b"]}}"
    spec = validate(JobSpec, data)
    assert orjson.loads(orjson.dumps(spec.model_dump(mode="json")))["input"]["items"] == [1e40]
