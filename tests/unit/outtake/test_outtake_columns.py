"""Columns never depend on rows, and nothing of an output is lost or changed on its way into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.kinds import Kind, KindRegistry
from jobs.outtake import ErrorTable, ResultTable, Table
from jobs.outtake.columns import RESERVED, ColumnType
from nlp.kinds import BUILT_IN
from nlp.kinds.classify import Classify
from tests.unit.outtake.lines import TEXTS, VALUES, failed, result

TYPES: dict[str, ColumnType] = {
    "text": "string",
    "share": "double",
    "count": "int64",
    "sure": "boolean",
    "all": "json",
}


def cells(table: Table, line: bytes) -> dict[str, Any]:
    """A line's cells by the names of their columns."""
    names = [column.name for column in table.columns]
    return dict(zip(names, table.cells(orjson.loads(line)), strict=True))


def test_results_have_the_columns_that_the_kind_declares() -> None:
    table = ResultTable(Classify.output_columns, carried=True)
    output = {"label": "ä", "score": 0.5, "labels": [{"label": "ä", "score": 0.5}], "method": "nli"}
    assert cells(table, result(7, output, "r7", {"country": None, "n": 1})) == {
        "index": 7,
        "custom_id": "r7",
        "label": "ä",
        "score": 0.5,
        "labels": '[{"label":"ä","score":0.5}]',
        "method": "nli",
        "truncated": None,
        "output": None,
        "input_tokens": 3,
        "output_tokens": 5,
        "fields": '{"country":null,"n":1}',
    }


def test_a_kind_that_declares_nothing_has_its_output_as_json() -> None:
    table = ResultTable({}, carried=False)
    for output in ({"text": "ä", "more": {"n": [1, 2.5]}}, {}):
        row = cells(table, result(0, output))
        assert list(row) == ["index", "custom_id", "output", "input_tokens", "output_tokens"]
        assert orjson.loads(row["output"]) == output


def test_errors_say_why_and_where() -> None:
    assert cells(ErrorTable(), failed(3, 'no "text"', "r3")) == {
        "index": 3,
        "custom_id": "r3",
        "code": "invalid_json",
        "message": 'no "text"',
        "source": "in put.jsonl",
        "line": 4,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 5),
        ("share", "0.5"),
        ("share", True),
        ("share", 2**53 + 1),
        ("count", 2**63),
        ("count", 1.0),
        ("count", True),
        ("sure", 1),
        ("other", "x"),
        ("other", None),
    ],
)
def test_what_fits_no_column_stays_in_output(name: str, value: object) -> None:
    row = cells(
        ResultTable(TYPES, carried=False), result(0, {name: value, "text": "t"} | {name: value})
    )
    assert orjson.loads(row["output"]) == {name: value}
    assert row.get(name) is None


@given(st.dictionaries(st.sampled_from(sorted(TYPES)) | TEXTS, VALUES, max_size=6))
def test_every_output_can_be_put_together_again(output: Mapping[str, Any]) -> None:
    row = cells(ResultTable(TYPES, carried=False), result(0, output))
    again = {name: row[name] for name in TYPES if row[name] is not None}
    if "all" in again:
        again["all"] = orjson.loads(again["all"])
    again |= orjson.loads(row["output"] or "{}")
    wanted = {
        name: value for name, value in output.items() if name not in TYPES or value is not None
    }
    assert again == wanted
    for name in TYPES.keys() & again.keys() - {"share"}:
        assert type(again[name]) is type(wanted[name])


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.name)
def test_built_in_kinds_declare_their_columns(kind: type[Kind]) -> None:
    assert kind.output_columns


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"": "string"}, "other than"),
        *(({name: "string"}, "other than") for name in sorted(RESERVED)),
        ({"score": "float"}, "expected one of string, double, int64, boolean, json"),
    ],
)
def test_a_kind_with_impossible_columns_is_refused(
    columns: Mapping[str, ColumnType], message: str
) -> None:
    class Odd(Classify):
        output_columns = columns

    with pytest.raises(ValueError, match=f"kind classify: .*{message}"):
        KindRegistry([Odd()])
