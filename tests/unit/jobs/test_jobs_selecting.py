"""Which results of a job are read, and where their values lie."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from jobs.intake import ReadOptions
from jobs.intake.results import result_rows
from jobs.rows import BadRow, Row
from jobs.selecting import MISSING, Condition, value_at
from jobs.spec import InputSpec, JobSpec

JOB = "job_" + "0" * 26

RESULTS: list[dict[str, Any]] = [
    {
        "custom_id": "a",
        "index": 0,
        "output": {"label": "good", "score": 0.95, "labels": [{"label": "good"}]},
        "usage": {"input_tokens": 1, "output_tokens": 0},
        "fields": {"text": "one", "country": "de", "a.b": 1, "n": {"c": [2]}},
    },
    {"custom_id": None, "index": 2, "output": {"label": "bad", "score": 0.5}, "fields": {}},
    {
        "custom_id": "c",
        "index": 3,
        "output": {"label": "bad", "score": 0.9},
        "fields": {"text": ""},
    },
]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("custom_id", "a"),
        ("output.score", 0.95),
        ("output.labels.0.label", "good"),
        ("output.labels.1.label", MISSING),
        ("output.labels.x", MISSING),
        ("fields.a.b", 1),
        ("fields.n.c.0", 2),
        ("fields.n.c.0.x", MISSING),
        ("fields", RESULTS[0]["fields"]),
        ("nothing.at.all", MISSING),
        ("output.", MISSING),
        (".", MISSING),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: object) -> None:
    assert value_at(RESULTS[0], path) == value


@pytest.mark.parametrize(
    ("condition", "holding", "others"),
    [
        ({"at_least": 0.9}, [0.9, 1, 10**30], [0.89, "1", None, True, MISSING, []]),
        ({"at_most": 1}, [1, -5.5], [1.1, "0", False, MISSING]),
        ({"at_least": 0, "at_most": 1}, [0, 1], [-1, 2]),
        ({"equals": "x"}, ["x"], ["y", None, MISSING, 1]),
        ({"equals": 1}, [1, 1.0], [True, "1", 2]),
        ({"equals": True}, [True], [1, "true", False]),
        ({"equals": 5, "at_most": 3}, [], [5, 3]),
    ],
)
def test_a_condition_holds(
    condition: dict[str, Any], holding: list[Any], others: list[Any]
) -> None:
    made = Condition(field="a", **condition)
    assert [made.holds(one) for one in holding] == [True] * len(holding)
    assert [made.holds(one) for one in others] == [False] * len(others)


@pytest.mark.parametrize(
    "wrong", [{}, {"equals": None}, {"at_least": "1"}, {"at_least": float("nan")}, {"like": "x"}]
)
def test_what_is_no_condition(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Condition.model_validate({"field": "a", **wrong})


def rows(spec: dict[str, Any], data: bytes | None = None, **options: Any) -> list[Row | BadRow]:
    made = InputSpec.model_validate({"job": JOB, **spec})
    read = ReadOptions(
        text_field=made.text_field,
        id_field=made.id_field,
        keep=frozenset(made.carry) | options.pop("extra", frozenset()),
        **options,
    )
    lines = data if data is not None else b"\n".join(orjson.dumps(one) for one in RESULTS)
    return list(result_rows([lines], made, source="job:x", options=read))


def test_results_are_rows() -> None:
    found = rows({"text_field": "output.label", "carry": ["fields.country", "index"]})
    assert found == [
        Row(0, "good", "a", {"fields.country": "de", "index": 0}),
        Row(1, "bad", None, {"index": 2}),
        Row(2, "bad", "c", {"index": 3}),
    ]
    assert [row.line for row in found] == [1, 2, 3]


def test_values_go_by_other_names_and_only_some_results_are_taken() -> None:
    found = rows(
        {
            "text_field": "fields.text",
            "id_field": "index",
            "fields": {"label": "output.label", "sure": "output.score"},
            "where": [{"field": "sure", "at_least": 0.9}],
        },
        extra=frozenset({"label"}),
    )
    assert found[0] == Row(0, "one", "0", {"label": "good"})
    assert isinstance(found[1], BadRow)
    assert (found[1].index, found[1].failure.code, found[1].custom_id) == (1, "empty_text", "3")
    assert len(found) == 2


def test_a_text_that_is_not_there_is_a_bad_row() -> None:
    found = rows({"fields": {"text": "output.summary"}})
    assert [isinstance(one, BadRow) and one.failure.code for one in found] == ["missing_text"] * 3


def test_lines_that_are_too_long_or_broken_are_bad_rows() -> None:
    data = b'{"output":{"t":"a"}}\n{"output":\n' + b'{"output":{"t":"' + b"x" * 2000 + b'"}}\n'
    found = rows({"text_field": "output.t"}, data, max_row_bytes=200)
    codes = [one.failure.code if isinstance(one, BadRow) else "good" for one in found]
    assert codes == ["good", "invalid_json", "row_too_large"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"job": JOB}, "expected text_field to name"),
        ({"job": JOB, "text_field": "x", "format": "jsonl"}, "expected no format"),
        ({"job": JOB, "uri": "s3://bucket/a", "text_field": "x"}, "found uri and job"),
        ({"job": "../x", "text_field": "x"}, "match pattern"),
        ({"uri": "s3://bucket/a", "fields": {"a": "b"}}, "fields is for the results of a job"),
        ({"uri": "s3://bucket/a", "where": [{"field": "a", "equals": 1}]}, "where is for"),
    ],
)
def test_an_input_that_is_refused(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        InputSpec.model_validate(spec)


def test_what_was_not_given_is_not_written() -> None:
    """Hashes of bodies stand in stores that were filled before these fields existed."""
    spec = JobSpec.model_validate({"kind": "echo", "input": {"items": [{"text": "a"}]}})
    assert spec.model_dump(mode="json")["input"] == {
        "items": [{"text": "a"}],
        "file": None,
        "uri": None,
        "format": None,
        "text_field": "text",
        "id_field": "custom_id",
        "carry": [],
    }
    given = {"job": JOB, "fields": {"text": "output.text"}, "where": [{"field": "x", "equals": 1}]}
    made = InputSpec.model_validate(given)
    assert InputSpec.model_validate(made.model_dump(mode="json")) == made
