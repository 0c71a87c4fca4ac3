"""Groups of rows: the one that fares worst shows, and chance in small ones does not."""

from __future__ import annotations

import pytest

from nlp.evaluation.classification import Choice, evaluate_labels
from nlp.evaluation.tally import JUDGED_ROWS, MAX_GROUPS
from nlp.evaluation.texts import evaluate_texts


def test_the_worst_group_and_the_gap() -> None:
    gold = ["a"] * 40
    found = [Choice("a")] * 20 + [Choice("a"), Choice("b")] * 10
    result = evaluate_labels(
        found, gold, groups=["north"] * 20 + ["south"] * 20, group_field="region"
    )
    groups = result.details["groups"]
    assert groups["field"] == "region"
    assert (groups["worst"], groups["best"]) == ("south", "north")
    assert groups["groups"]["south"]["rows"] == 20
    assert groups["groups"]["south"]["metrics"]["accuracy"] == 0.5
    assert result.metrics["accuracy"] == 0.75
    assert result.metrics["worst_group_accuracy"] == 0.5
    assert result.metrics["group_gap_accuracy"] == 0.5


def test_a_group_of_few_rows_is_listed_but_not_judged() -> None:
    gold = ["a"] * 41
    found = [Choice("a")] * 40 + [Choice("b")]
    groups = ["x"] * 20 + ["y"] * 20 + [None]
    result = evaluate_labels(found, gold, groups=groups, group_field="region")
    assert result.details["groups"]["groups"][""]["metrics"]["accuracy"] == 0.0
    assert result.metrics["worst_group_accuracy"] == 1.0


def test_one_group_has_nothing_beside_it() -> None:
    result = evaluate_texts(["a"] * 20, ["a"] * 20, groups=[1] * 20, group_field="g")
    assert "worst_group_chrf" not in result.metrics
    assert result.details["groups"]["groups"]["1"]["rows"] == 20


def test_groups_without_end_take_bounded_memory() -> None:
    rows = MAX_GROUPS + 30
    result = evaluate_labels(
        [Choice("a")] * rows, ["a"] * rows, groups=list(range(rows)), group_field="id"
    )
    assert len(result.details["groups"]["groups"]) == MAX_GROUPS
    assert result.details["groups"]["rows_of_further_groups"] == 30
    assert result.details["rows"] == rows


@pytest.mark.parametrize(("rows", "judged"), [(JUDGED_ROWS - 1, False), (JUDGED_ROWS, True)])
def test_groups_are_judged_from_enough_rows_on(rows: int, judged: bool) -> None:
    groups = ["x"] * rows + ["y"] * rows
    result = evaluate_texts(["a"] * 2 * rows, ["a"] * 2 * rows, groups=groups, group_field="g")
    assert ("worst_group_chrf" in result.metrics) is judged
