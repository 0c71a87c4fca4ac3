"""Labels beside gold labels: accuracy, F1, tables by label, the confusion matrix, and calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nlp.evaluation.tally import Grouped, Tally
from nlp.training.task import Evaluation

#: Different labels that are told apart.
MAX_LABELS = 2000

#: Labels up to which the confusion matrix is written whole; beyond, only the pairs that were mixed up most.
MATRIX_LABELS = 100

#: Pairs that were mixed up most, which are listed in any case.
CONFUSED_PAIRS = 20

#: Bins of equal width between 0 and 1 for the expected calibration error.
BINS = 15

#: How far the scores of a distribution may sum from 1.
_SUM_TOLERANCE = 1e-2


class TooManyLabels(Exception):
    """There are more different labels than :data:`MAX_LABELS`: these are not labels."""


@dataclass(frozen=True)
class Choice:
    """The label that a row was given."""

    label: str | None  #: None where no label scored well enough: wrong, whatever the gold label is
    #: Scores by label, which sum to 1 where all labels are among them. Empty: calibration is not known.
    scores: Mapping[str, float] = field(default_factory=dict)


def evaluate_labels(
    found: Sequence[Choice],
    gold: Sequence[str],
    *,
    groups: Sequence[object] | None = None,
    group_field: str | None = None,
) -> Evaluation:
    """One label a row: see :class:`LabelTally`."""
    tally = Grouped(LabelTally, group_field)
    for one, right, group in zip(found, gold, groups or [None] * len(found), strict=True):
        tally.add(one, right, group)
    return tally.evaluation()


def evaluate_label_sets(
    found: Sequence[Collection[str]],
    gold: Sequence[Collection[str]],
    *,
    groups: Sequence[object] | None = None,
    group_field: str | None = None,
) -> Evaluation:
    """Any number of labels a row: see :class:`LabelSetTally`."""
    tally = Grouped(LabelSetTally, group_field)
    for one, right, group in zip(found, gold, groups or [None] * len(found), strict=True):
        tally.add(one, right, group)
    return tally.evaluation()


class LabelTally(Tally[Choice, str]):
    """Counts for rows with one label each.

    Metrics: ``accuracy``; ``macro_f1``, the mean over all labels that are gold or were given anywhere; where there are
    scores ``ece``, the expected calibration error of the given label's score; where the scores are whole distributions
    ``brier``, the mean over rows of the squared distance between scores and truth, summed over labels: 0 to 2.
    """

    fair: ClassVar[str] = "accuracy"

    def __init__(self) -> None:
        self._pairs: Counter[tuple[str, str | None]] = Counter()  # (gold, given)
        self._labels: set[str] = set()
        self._calibration = _Calibration()

    def add(self, found: Choice, gold: str) -> None:
        self._labels.add(gold)
        if found.label is not None:
            self._labels.add(found.label)
        if len(self._labels) > MAX_LABELS:
            raise TooManyLabels
        self._pairs[gold, found.label] += 1
        self._calibration.add(found, gold)

    def evaluation(self) -> Evaluation:
        rows = self._pairs.total()
        if not rows:
            return Evaluation({})
        labels = sorted(self._labels)
        gold: Counter[str] = Counter()
        given: Counter[str] = Counter()
        for (right, label), count in self._pairs.items():
            gold[right] += count
            if label is not None:
                given[label] += count
        hits = {label: self._pairs[label, label] for label in labels}
        table = _table(labels, hits, given, gold)
        metrics = {
            "accuracy": sum(hits.values()) / rows,
            "macro_f1": _mean([entry["f1"] for entry in table]),
            **self._calibration.metrics(),
        }
        details: dict[str, Any] = {"labels": table, "confused": self._confused()}
        if given.total() < rows:
            details["without_label"] = rows - given.total()
        if len(labels) <= MATRIX_LABELS:
            matrix = [[self._pairs[one, other] for other in labels] for one in labels]
            details["confusion"] = {"labels": labels, "matrix": matrix}  # a row for each gold label
        if self._calibration.rows:
            details["calibration"] = self._calibration.table()
        return Evaluation(metrics, details)

    def _confused(self) -> list[dict[str, Any]]:
        wrong = [(-n, *pair) for pair, n in self._pairs.items() if pair[1] not in {None, pair[0]}]
        return [
            {"gold": right, "predicted": label, "rows": -count}
            for count, right, label in sorted(wrong, key=_most_first)[:CONFUSED_PAIRS]
        ]


def _most_first(entry: tuple[int, str, str | None]) -> tuple[int, str, str]:
    """Most rows first, then by label."""
    return entry[0], entry[1], entry[2] or ""


class LabelSetTally(Tally[Collection[str], Collection[str]]):
    """Counts for rows with any number of labels each.

    Metrics: ``micro_f1`` over all decisions; ``macro_f1``, the mean over labels; ``exact_match``, rows whose labels are
    all right.
    """

    fair: ClassVar[str] = "micro_f1"

    def __init__(self) -> None:
        self._hits: Counter[str] = Counter()
        self._given: Counter[str] = Counter()
        self._gold: Counter[str] = Counter()
        self._rows = self._exact = 0

    def add(self, found: Collection[str], gold: Collection[str]) -> None:
        given, right = set(found), set(gold)
        self._rows += 1
        self._exact += given == right
        self._given.update(given)
        self._gold.update(right)
        self._hits.update(given & right)
        if max(len(self._given), len(self._gold)) > MAX_LABELS:
            raise TooManyLabels

    def evaluation(self) -> Evaluation:
        if not self._rows:
            return Evaluation({})
        labels = sorted(self._gold.keys() | self._given.keys())
        table = _table(labels, self._hits, self._given, self._gold)
        micro = _f1(self._hits.total(), self._given.total(), self._gold.total())
        metrics = {
            # Rows that have no label, and were given none, leave nothing to be wrong about.
            "micro_f1": micro if labels else 1.0,
            "macro_f1": _mean([entry["f1"] for entry in table]) if labels else 1.0,
            "exact_match": self._exact / self._rows,
        }
        return Evaluation(metrics, {"labels": table})


class _Calibration:
    """How far scores can be taken at their word."""

    def __init__(self) -> None:
        self.rows = 0
        self._counts = [0] * BINS
        self._right = [0] * BINS
        self._scores = [0.0] * BINS
        self._squares = 0.0
        self._whole = True  # whether all rows had scores for all labels

    def add(self, found: Choice, gold: str) -> None:
        score = None if found.label is None else found.scores.get(found.label)
        if score is None:
            self._whole = False
            return
        self.rows += 1
        place = min(BINS - 1, max(0, int(score * BINS)))
        self._counts[place] += 1
        self._right[place] += found.label == gold
        self._scores[place] += score
        self._whole &= abs(sum(found.scores.values()) - 1) <= _SUM_TOLERANCE
        squares = sum(value * value for value in found.scores.values())
        self._squares += squares - 2 * found.scores.get(gold, 0.0) + 1

    def metrics(self) -> dict[str, float]:
        """ECE as in Guo et al. 2017, "On Calibration of Modern Neural Networks"; Brier's score as in Brier 1950."""
        if not self.rows:
            return {}
        apart = sum(abs(r - s) for r, s in zip(self._right, self._scores, strict=True))
        found = {"ece": apart / self.rows}
        if self._whole:
            found["brier"] = self._squares / self.rows
        return found

    def table(self) -> list[dict[str, Any]]:
        """For each bin with rows: how sure the model was, and how often it was right."""
        return [
            {
                "from": place / BINS,
                "to": (place + 1) / BINS,
                "rows": count,
                "score": self._scores[place] / count,
                "accuracy": self._right[place] / count,
            }
            for place, count in enumerate(self._counts)
            if count
        ]


def _table(
    labels: Sequence[str],
    hits: Mapping[str, int],
    given: Mapping[str, int],
    gold: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Precision, recall and F1 by label; 0 where a quotient is not defined, as everywhere in this field."""
    return [
        {
            "label": label,
            "precision": _ratio(hits.get(label, 0), given.get(label, 0)),
            "recall": _ratio(hits.get(label, 0), gold.get(label, 0)),
            "f1": _f1(hits.get(label, 0), given.get(label, 0), gold.get(label, 0)),
            "rows": gold.get(label, 0),
        }
        for label in labels
    ]


def _f1(hits: int, given: int, gold: int) -> float:
    return _ratio(2 * hits, given + gold)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
