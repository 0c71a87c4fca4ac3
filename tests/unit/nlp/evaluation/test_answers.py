"""Results beside gold answers: what counts as one, and what a job that costs nothing would score."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import nlp
from jobs.errors import InvalidRequest
from jobs.kinds import Kind
from jobs.measuring import Evaluator
from jobs.params import parse_params
from jobs.rows import Row
from nlp.evaluation.baselines import (
    majority,
    majority_metrics,
    majority_set_metrics,
    majority_sets,
)
from nlp.evaluation.classification import evaluate_label_sets, evaluate_labels
from nlp.kinds.classify import Classify
from nlp.kinds.summarize import Summarize
from nlp.kinds.translate import Translate


def evaluator(kind: Kind, **params: Any) -> Evaluator:
    made = kind.evaluator(parse_params(kind, {"evaluate": True, **params}))
    assert made is not None
    return made


def labelled(**scores: float) -> dict[str, Any]:
    """An output of ``classify``."""
    order = sorted(scores, key=lambda label: -scores[label])
    return {"label": order[0], "labels": [{"label": one, "score": scores[one]} for one in order]}


def test_labels_beside_gold_labels() -> None:
    found = evaluator(Classify(), group_field="country")
    for number, (gold, output) in enumerate(
        [
            ("a", labelled(a=0.9, b=0.1)),
            ("b", labelled(a=0.6, b=0.4)),
            (7, labelled(**{"7": 0.8, "a": 0.2})),
            (None, labelled(a=1.0)),
            ("", labelled(a=1.0)),
            ({"label": "a"}, labelled(a=1.0)),
        ]
    ):
        found.add(Row(number, "", fields={"label": gold, "country": "de"}), output)
    said = found.evaluation()
    assert (said["gold_field"], said["rows"], said["without_gold"]) == ("label", 3, 3)
    assert said["metrics"]["accuracy"] == pytest.approx(2 / 3)
    assert said["baselines"]["majority"]["accuracy"] == pytest.approx(1 / 3)
    assert [one["label"] for one in said["details"]["labels"]] == ["7", "a", "b"]
    assert said["details"]["groups"]["groups"]["de"]["rows"] == 3


def test_any_number_of_labels() -> None:
    found = evaluator(Classify(), threshold=0.3)
    rows = [
        (["a", "b"], labelled(a=0.9, b=0.35, c=0.1)),
        ([], labelled(a=0.2, b=0.1)),
        ("c", labelled(c=0.6)),
    ]
    for number, (gold, output) in enumerate(rows):
        found.add(Row(number, "", fields={"labels": gold}), output)
    said = found.evaluation()
    assert said["gold_field"] == "labels"
    assert said["metrics"]["exact_match"] == 1.0
    assert "micro_f1" in said["baselines"]["majority"]


def test_another_field_holds_the_answers() -> None:
    kind: Kind = Classify()
    params = parse_params(kind, {"evaluate": True, "gold_field": "section", "group_field": "g"})
    assert kind.fields_of(params) == {"section", "g"}
    found = kind.evaluator(params)
    assert found is not None
    found.add(Row(0, "", fields={"section": "a", "label": "b"}), labelled(a=1.0))
    assert found.evaluation()["metrics"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("kind", "key", "baseline", "source"),
    [
        (Summarize(), "summary", "lead", "The cat sat down. It slept."),
        (Translate(), "translation", "copy", "The cat sat down."),
    ],
)
def test_texts_beside_gold_texts(kind: Kind, key: str, baseline: str, source: str) -> None:
    params = {"target_lang": "en", "source_lang": "de"} if kind.name == "translate" else {}
    found = evaluator(kind, **params)
    found.add(Row(0, source, fields={"target": "The cat sat down."}), {key: "The dog sat down."})
    for number, gold in enumerate((None, " ", 5), 1):
        found.add(Row(number, source, fields={"target": gold}), {key: "x"})
    said = found.evaluation()
    assert (said["rows"], said["without_gold"]) == (1, 3)
    assert 0 < said["metrics"]["chrf"] < 100
    assert said["metrics"]["exact_match"] == 0.0
    assert said["baselines"][baseline]["exact_match"] == 1.0


@pytest.mark.parametrize("kind", [Classify(), Summarize()], ids=lambda kind: kind.name)
def test_no_gold_answer_at_all_is_said(kind: Kind) -> None:
    found = evaluator(kind)
    found.add(Row(0, "text"), {**labelled(a=1.0), "summary": "x"})
    said = found.evaluation()
    assert (said["rows"], said["without_gold"], said["metrics"]) == (0, 1, {})
    assert "gold answer" in said["problem"]


def test_what_are_no_labels_is_said() -> None:
    found = evaluator(Classify())
    for number in range(2100):
        found.add(Row(number, "", fields={"label": f"text {number}"}), labelled(a=1.0))
    said = found.evaluation()
    assert "2,000 different labels" in said["problem"]
    assert said["metrics"] == {}


@pytest.mark.parametrize("kind", [Classify(), Summarize(), Translate()], ids=lambda k: k.name)
def test_only_who_asks_is_measured(kind: Kind) -> None:
    params = {"target_lang": "en", "source_lang": "de"} if kind.name == "translate" else {}
    plain = parse_params(kind, params)
    assert kind.evaluator(plain) is None
    assert kind.fields_of(plain) == kind.fields
    with pytest.raises(InvalidRequest, match="evaluate"):
        parse_params(kind, {**params, "group_field": "country"})


def test_the_cheap_baselines_are_those_of_answers_given_one_by_one() -> None:
    gold = ["a"] * 5 + ["b"] * 3 + ["c"]
    long = evaluate_labels(majority(gold, 9), gold).metrics
    assert majority_metrics(Counter(gold), 9) == pytest.approx(long)


@pytest.mark.parametrize(
    "gold",
    [
        [{"a", "b"}, {"a"}, {"b"}, {"c"}],
        [{"a"}, {"b"}, {"c"}, set()],
        [{"a"}, set(), set(), set(), {"b"}],
        [set(), set()],
    ],
)
def test_the_cheap_baselines_of_label_sets_are_too(gold: list[set[str]]) -> None:
    long = dict(evaluate_label_sets(majority_sets(gold, len(gold)), gold).metrics)
    del long["exact_match"]  # cannot be had from counts by label
    counts = Counter(label for labels in gold for label in labels)
    assert majority_set_metrics(counts, len(gold)) == pytest.approx(long)


def test_measuring_loads_no_model_library() -> None:
    program = (
        "import sys\n"
        "from nlp.evaluation.answers import LabelAnswers, TextAnswers\n"
        "from jobs.measuring import MeasuredParams\n"
        "TextAnswers(MeasuredParams(evaluate=True), 'summary', ('copy', str.strip))\n"
        "print([name for name in ('torch', 'transformers', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(nlp.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
