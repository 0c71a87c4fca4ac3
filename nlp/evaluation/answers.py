"""Results of jobs beside the gold answers of their rows."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from jobs.measuring import Evaluator, MeasuredParams
from jobs.rows import Row
from nlp.evaluation.baselines import majority_metrics, majority_set_metrics
from nlp.evaluation.classification import (
    MAX_LABELS,
    Choice,
    LabelSetTally,
    LabelTally,
    TooManyLabels,
)
from nlp.evaluation.tally import Grouped
from nlp.training.fields import label_name
from nlp.training.task import Evaluation

#: Fields of gold answers where the job names none: as rows to train on have them. The first one that is there counts.
LABEL_FIELDS = ("labels", "label")
TEXT_FIELDS = ("target",)

#: Score from which on a label counts as given where a row may have several.
_HOLDS = 0.5


class _Answers(Evaluator):
    """What all evaluators do: find the gold answer, count rows that have none."""

    def __init__(self, params: MeasuredParams, fields: tuple[str, ...]) -> None:
        self._fields = (params.gold_field,) if params.gold_field else fields
        self._group_field = params.group_field
        self._rows = self._without = 0
        self._used: str | None = None  # the field of the first gold answer
        self._problem: str | None = None

    def add(self, row: Row, output: Mapping[str, Any]) -> None:
        if self._problem is not None:
            return
        found = next((name for name in self._fields if row.fields.get(name) is not None), None)
        group = row.fields.get(self._group_field) if self._group_field else None
        if found is None or not self._count(row, output, row.fields[found], group):
            self._without += 1
        else:
            self._rows += 1
            self._used = self._used or found

    def evaluation(self) -> dict[str, Any]:
        if self._problem is None and not self._rows:
            names = " or ".join(f"`{name}`" for name in self._fields)
            self._problem = f"No row with a result has a gold answer in {names}."
        found: dict[str, Any] = {
            "gold_field": self._used or self._fields[-1],
            "rows": self._rows,
            "without_gold": self._without,
            "metrics": {},
            "baselines": {},
            "details": {},
        }
        if self._problem is not None:
            return {**found, "problem": self._problem}
        measured = self._measured()
        details = {name: one for name, one in measured.details.items() if name != "rows"}
        return {
            **found,
            "metrics": dict(measured.metrics),
            "baselines": {name: dict(metrics) for name, metrics in self._baselines().items()},
            "details": details,
        }

    @abstractmethod
    def _count(self, row: Row, output: Mapping[str, Any], gold: object, group: object) -> bool:
        """Count a row; whether its gold answer is one."""

    @abstractmethod
    def _measured(self) -> Evaluation:
        """The evaluation so far."""

    @abstractmethod
    def _baselines(self) -> Mapping[str, Mapping[str, float]]:
        """Metrics of answers that cost nothing, by their names."""


class LabelAnswers(_Answers):
    """Labels beside gold labels: one a row or, where the first gold answer is a list, any number of them.

    The baseline gives every row the gold label that is most frequent among these very rows.

    Args:
        params: of the job.
        threshold: from which on a label of several holds.
    """

    def __init__(self, params: MeasuredParams, threshold: float | None) -> None:
        super().__init__(params, LABEL_FIELDS)
        self._threshold = _HOLDS if threshold is None else threshold
        self._one: Grouped[Choice, str] = Grouped(LabelTally, self._group_field)
        self._several: Grouped[Collection[str], Collection[str]] = Grouped(
            LabelSetTally, self._group_field
        )
        self._multi: bool | None = None  # known from the first gold answer on
        self._gold: Counter[str] = Counter()

    def _count(self, row: Row, output: Mapping[str, Any], gold: object, group: object) -> bool:
        labels = gold_labels(gold)
        if labels is None:
            return False
        if self._multi is None:
            self._multi = isinstance(gold, list)
        if not self._multi and len(labels) != 1:
            return False
        scores = {entry["label"]: entry["score"] for entry in output["labels"]}
        try:
            if self._multi:
                given = [label for label, score in scores.items() if score >= self._threshold]
                self._several.add(given, labels, group)
            else:
                self._one.add(Choice(output["label"], scores), labels[0], group)
        except TooManyLabels:
            self._problem = f"There are more than {MAX_LABELS:,} different labels."
        self._gold.update(labels)
        return True

    def _measured(self) -> Evaluation:
        return (self._several if self._multi else self._one).evaluation()

    def _baselines(self) -> Mapping[str, Mapping[str, float]]:
        metrics = majority_set_metrics if self._multi else majority_metrics
        return {"majority": metrics(self._gold, self._rows)}


class TextAnswers(_Answers):
    """Texts beside gold texts.

    Args:
        params: of the job.
        key: of the text in an output.
        baseline: its name, and what it makes of a row's text.
        language: that the texts are to have, where the job names one.
    """

    #: A long text takes about a millisecond, and the baseline as long.
    most: ClassVar[int | None] = 20_000

    def __init__(
        self,
        params: MeasuredParams,
        key: str,
        baseline: tuple[str, Callable[[str], str]],
        language: str | None = None,
    ) -> None:
        from nlp.evaluation.texts import TextTally  # noqa: PLC0415 - loads sacrebleu

        super().__init__(params, TEXT_FIELDS)
        self._key = key
        self._tally = Grouped(lambda: TextTally(language), params.group_field)
        self._baseline, self._make = baseline
        self._other = TextTally(language)

    def _count(self, row: Row, output: Mapping[str, Any], gold: object, group: object) -> bool:
        if not isinstance(gold, str) or not gold.strip():
            return False
        self._tally.add(output[self._key], gold, group)
        self._other.add(self._make(row.text), gold)
        return True

    def _measured(self) -> Evaluation:
        return self._tally.evaluation()

    def _baselines(self) -> Mapping[str, Mapping[str, float]]:
        return {self._baseline: self._other.evaluation().metrics}


def gold_labels(value: object) -> list[str] | None:
    """A gold answer's labels, each once; None where it is none."""
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str | int) for name in names):
        return None
    labels = [label_name(name) for name in names]
    return list(dict.fromkeys(labels)) if all(labels) else None
