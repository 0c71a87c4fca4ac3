"""Numbers of labels beside gold labels, against values worked out by hand and by scikit-learn."""

from __future__ import annotations

import random

import pytest
from sklearn.metrics import accuracy_score, f1_score

from nlp.evaluation.classification import (
    MAX_LABELS,
    Choice,
    LabelTally,
    TooManyLabels,
    evaluate_label_sets,
    evaluate_labels,
)


def choices(*labels: str | None) -> list[Choice]:
    return [Choice(label) for label in labels]


def test_accuracy_f1_and_the_table_by_hand() -> None:
    # a: 2 of 3 found, one wrong hit; b: 1 of 2 found, one wrong hit.
    found = evaluate_labels(choices("a", "a", "b", "b", "a"), ["a", "a", "a", "b", "b"])
    assert found.metrics["accuracy"] == pytest.approx(3 / 5)
    assert found.metrics["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.details["labels"] == [
        {"label": "a", "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "rows": 3},
        {"label": "b", "precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 2},
    ]
    assert found.details["confusion"] == {"labels": ["a", "b"], "matrix": [[2, 1], [1, 1]]}
    assert found.details["confused"] == [
        {"gold": "a", "predicted": "b", "rows": 1},
        {"gold": "b", "predicted": "a", "rows": 1},
    ]
    assert found.details["rows"] == 5
    assert "ece" not in found.metrics


def test_a_row_without_a_label_is_wrong_and_no_label_of_its_own() -> None:
    found = evaluate_labels(choices("a", None, "b"), ["a", "a", "b"])
    assert found.metrics["accuracy"] == pytest.approx(2 / 3)
    assert found.metrics["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found.details["without_label"] == 1


def test_a_label_that_is_never_gold_counts_when_it_is_given() -> None:
    assert evaluate_labels(choices("a", "c"), ["a", "a"]).metrics["macro_f1"] == pytest.approx(
        (2 / 3 + 0) / 2
    )


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_agrees(seed: int) -> None:
    rng = random.Random(seed)
    gold = [rng.choice("abcdefg") for _ in range(200)]
    found = [right if rng.random() < 0.6 else rng.choice("abcdefgh") for right in gold]
    metrics = evaluate_labels(choices(*found), gold).metrics
    assert metrics["accuracy"] == pytest.approx(accuracy_score(gold, found))
    assert metrics["macro_f1"] == pytest.approx(f1_score(gold, found, average="macro"))


def test_calibration_by_hand() -> None:
    found = [
        Choice("a", {"a": 0.9, "b": 0.1}),  # right
        Choice("a", {"a": 0.9, "b": 0.1}),  # wrong
        Choice("b", {"a": 0.3, "b": 0.7}),  # right
    ]
    result = evaluate_labels(found, ["a", "b", "b"])
    # The bin of 0.9 holds one right of two; that of 0.7 one of one.
    assert result.metrics["ece"] == pytest.approx((2 * abs(0.5 - 0.9) + abs(1 - 0.7)) / 3)
    assert result.metrics["brier"] == pytest.approx((0.02 + 1.62 + 0.18) / 3)
    assert [(entry["rows"], entry["accuracy"]) for entry in result.details["calibration"]] == [
        (1, 1.0),
        (2, 0.5),
    ]


def test_scores_that_are_cut_short_give_no_brier_score() -> None:
    metrics = evaluate_labels([Choice("a", {"a": 0.6})], ["a"]).metrics
    assert metrics["ece"] == pytest.approx(0.4)
    assert "brier" not in metrics


def test_several_labels_a_row_by_hand() -> None:
    found = evaluate_label_sets([{"a"}, {"a", "b"}, set()], [{"a"}, {"b"}, {"c"}])
    assert found.metrics["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert found.metrics["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.metrics["exact_match"] == pytest.approx(1 / 3)
    assert [entry["rows"] for entry in found.details["labels"]] == [1, 1, 1]


def test_no_labels_at_all_are_right() -> None:
    assert evaluate_label_sets([set()], [set()]).metrics == {
        "micro_f1": 1.0,
        "macro_f1": 1.0,
        "exact_match": 1.0,
    }


def test_no_rows_have_no_metrics() -> None:
    assert evaluate_labels([], []).metrics == {}
    assert evaluate_label_sets([], []).metrics == {}


def test_what_is_no_label_is_noticed_before_memory_fills() -> None:
    tally = LabelTally()
    for number in range(MAX_LABELS):
        tally.add(Choice(None), str(number))
    tally.add(Choice("0"), "1")
    with pytest.raises(TooManyLabels):
        tally.add(Choice(None), "one more")
