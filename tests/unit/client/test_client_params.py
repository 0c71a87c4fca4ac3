"""``--param k=v`` gives the values that a kind's schema wants."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.params import ParamError, parse_params

TEXT = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
FLAG = {"type": "boolean"}
TEXTS = {"type": "array", "items": TEXT}
INTEGERS = {"type": "array", "items": INTEGER}
NULL = {"type": "null"}
CHOICE = {"enum": ["auto", "exact"], "type": "string"}


def either(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": list(schemas)}


def value_of(wanted: dict[str, Any], text: str, **definitions: Any) -> Any:
    schema = {
        "type": "object",
        "properties": {"p": wanted},
        "additionalProperties": False,
        "$defs": definitions,
    }
    return parse_params([f"p={text}"], schema)["p"]


@pytest.mark.parametrize(
    ("wanted", "text", "expected"),
    [
        (TEXT, "5", "5"),
        (TEXT, "true", "true"),
        (TEXT, "null", "null"),
        (TEXT, "a,b", "a,b"),
        (TEXT, '"5"', "5"),
        (TEXT, "[1]", "[1]"),
        (TEXT, "a=b", "a=b"),
        (TEXT, "", ""),
        (INTEGER, "5", 5),
        (INTEGER, "-3", -3),
        (INTEGER, "5.0", 5),
        (NUMBER, "5", 5),
        (NUMBER, "1e-3", 0.001),
        (NUMBER, ".5", 0.5),
        (FLAG, "true", True),
        (FLAG, "False", False),
        (TEXTS, "a,b,c", ["a", "b", "c"]),
        (TEXTS, "a, b", ["a", "b"]),
        (TEXTS, "5", ["5"]),
        (TEXTS, "", []),
        (TEXTS, '["a,b", "c"]', ["a,b", "c"]),
        (INTEGERS, "1,2", [1, 2]),
        (INTEGERS, "[1, 2]", [1, 2]),
        (CHOICE, "exact", "exact"),
        ({"const": "classify"}, "classify", "classify"),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        (either(TEXTS, NULL), "a,b", ["a", "b"]),
        (either(TEXTS, NULL), "null", None),
        (either(TEXT, NULL), "null", None),
        (either(TEXT, NULL), "5", "5"),
        (either(INTEGER, NULL), "5", 5),
        (either(NUMBER, TEXT), "0.1", 0.1),
        (either(NUMBER, TEXT), "file_1", "file_1"),
        (either(TEXT, TEXTS), "a,b", "a,b"),
        (either(TEXT, TEXTS), '["a"]', ["a"]),
        ({"type": ["integer", "null"]}, "null", None),
        ({"type": ["integer", "string"]}, "x", "x"),
        ({}, '{"a": [1]}', {"a": [1]}),
        ({}, "a,b", "a,b"),
    ],
)
def test_a_value_is_what_the_schema_wants(
    wanted: dict[str, Any], text: str, expected: object
) -> None:
    found = value_of(wanted, text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("wanted", "text", "message"),
    [
        (INTEGER, "three", "a whole number, found 'three'"),
        (INTEGER, "1.5", "a whole number"),
        (INTEGER, "true", "a whole number"),
        (NUMBER, "NaN", "a number"),
        (NUMBER, "inf", "a number"),
        (FLAG, "1", "true or false"),
        (FLAG, "yes", "true or false"),
        (CHOICE, "fast", "auto, exact, found 'fast'"),
        (INTEGERS, "1,b", "a whole number, found 'b'"),
        (either(INTEGER, NULL), "x", "a whole number or null"),
        (TEXTS, "[broken", "a list of \\(text\\)"),
        ({"type": "object"}, "a", "a JSON object"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    wanted: dict[str, Any], text: str, message: str
) -> None:
    with pytest.raises(ParamError, match=message) as caught:
        value_of(wanted, text)
    assert "'p'" in str(caught.value)


def test_references_are_followed_even_in_circles() -> None:
    assert value_of({"$ref": "#/$defs/Mode"}, "exact", Mode=CHOICE) == "exact"
    assert value_of({"allOf": [{"$ref": "#/$defs/Mode"}]}, "exact", Mode=CHOICE) == "exact"
    circle = {"$ref": "#/$defs/Circle"}
    assert value_of(either(circle, INTEGER), "3", Circle=circle) == 3


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["topk=3"], "unknown parameter 'topk'; this kind knows: labels, top_k"),
        (["top_k"], "expected --param name=value, found 'top_k'"),
        (["=3"], "expected --param name=value"),
        (["top_k=1", "top_k=2"], "given twice"),
    ],
)
def test_bad_pairs_are_refused(pairs: list[str], message: str) -> None:
    schema = {
        "properties": {"top_k": INTEGER, "labels": TEXTS},
        "additionalProperties": False,
    }
    with pytest.raises(ParamError, match=message):
        parse_params(pairs, schema)


def test_a_kind_that_takes_anything_gets_anything() -> None:
    assert parse_params(["a=1", "b=x"], {"properties": {}}) == {"a": 1, "b": "x"}


UNION = {
    "oneOf": [{"$ref": "#/$defs/Classify"}, {"$ref": "#/$defs/Translate"}],
    "$defs": {
        "Classify": {
            "properties": {"task": {"const": "classify"}, "size": INTEGER, "labels": TEXTS},
            "additionalProperties": False,
        },
        "Translate": {
            "properties": {"task": {"const": "translate"}, "size": TEXT, "target": TEXT},
            "additionalProperties": False,
        },
    },
}


def test_a_union_is_narrowed_by_its_constants() -> None:
    assert parse_params(["size=3", "task=classify"], UNION) == {"task": "classify", "size": 3}
    assert parse_params(["size=3", "task=translate"], UNION) == {"task": "translate", "size": "3"}
    assert parse_params(["labels=a,b"], UNION) == {"labels": ["a", "b"]}
    with pytest.raises(ParamError, match="knows: labels, size, task"):
        parse_params(["task=classify", "target=de"], UNION)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=50)
@given(json_values)
def test_any_json_reaches_a_parameter_that_takes_anything(value: Any) -> None:
    assert value_of({}, json.dumps(value)) == value


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters='"')))
def test_any_text_reaches_a_parameter_that_wants_text(text: str) -> None:
    assert value_of(TEXT, text) == text


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters=",", categories=["L", "N"]), min_size=1)))
def test_a_comma_list_reaches_a_parameter_that_wants_a_list(parts: list[str]) -> None:
    assert value_of(TEXTS, ",".join(parts)) == parts
