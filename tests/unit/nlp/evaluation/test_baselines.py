"""What a person would use without a tuned model."""

from __future__ import annotations

import pytest

from nlp.evaluation import baselines
from nlp.evaluation.baselines import (
    copied,
    lead_sentences,
    majority,
    majority_sets,
    tfidf,
    tfidf_sets,
)
from nlp.evaluation.classification import evaluate_labels

FRUIT = [f"ripe {colour} apple and pear {n}" for n in range(10) for colour in ("red", "green")]
TOOLS = [f"heavy {metal} hammer and saw {n}" for n in range(10) for metal in ("iron", "steel")]
LABELS = ["fruit"] * len(FRUIT) + ["tool"] * len(TOOLS)


def test_the_majority_label_and_how_ties_end() -> None:
    assert [one.label for one in majority(["b", "a", "b"], 2)] == ["b", "b"]
    assert majority(["b", "a"], 1)[0].label == "a"


def test_labels_that_half_of_the_rows_have() -> None:
    assert majority_sets([["a"], ["a", "b"], ["c"]], 1) == [{"a"}]
    assert majority_sets([["a"], ["b"], ["c"]], 2) == [{"a"}, {"a"}]


def test_tfidf_learns_which_words_tell_labels_apart() -> None:
    found = tfidf(FRUIT + TOOLS, LABELS, ["a green pear", "one steel saw"])
    assert [one.label for one in found] == ["fruit", "tool"]
    metrics = evaluate_labels(found, ["fruit", "tool"]).metrics
    assert metrics["accuracy"] == 1.0
    assert 0 < metrics["brier"] < 0.5
    assert tfidf(FRUIT + TOOLS, LABELS, ["a green pear"]) == found[:1]


def test_tfidf_learns_any_number_of_labels() -> None:
    labels = [["fruit", "thing"]] * len(FRUIT) + [["tool", "thing"]] * len(TOOLS)
    found = tfidf_sets(FRUIT + TOOLS, labels, ["a green pear", "one steel saw"])
    assert found == [{"fruit", "thing"}, {"tool", "thing"}]


def test_tfidf_says_when_there_is_nothing_to_learn() -> None:
    with pytest.raises(ValueError, match="class"):
        tfidf(["one text", "another text"], ["a", "a"], ["text"])
    with pytest.raises(ValueError, match="no row has a label"):
        tfidf_sets(["one text"], [[]], ["text"])


def test_tfidf_learns_from_rows_of_the_whole_when_they_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(baselines, "TFIDF_ROWS", 10)
    found = tfidf(FRUIT + TOOLS, LABELS, ["a green pear", "one steel saw"])
    assert [one.label for one in found] == ["fruit", "tool"]


def test_sources_and_lead_sentences() -> None:
    assert copied([" as it was "]) == ["as it was"]
    assert lead_sentences(["First one. Second one.", ""]) == ["First one.", ""]
