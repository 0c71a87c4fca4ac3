"""How good the results of a job are, beside gold answers that its rows brought along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A job's results, measured."""

    gold_field: str | None = None  #: field of the rows that held the gold answers
    rows: int = 0  #: results that were measured
    without_gold: int = 0  #: results that were not, as their rows have no gold answer
    one_in: int = 1  #: 3: of so many results every third one was measured
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)  #: such as ``macro_f1``
    #: The same of answers that cost nothing, such as always the most frequent label, by their names.
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict, hash=False)
    #: With ``group_field``: ``field``, ``by``, ``worst``, ``worst_value``, ``best``, ``gap``.
    groups: Mapping[str, Any] = field(default_factory=dict, hash=False)
    problem: str | None = None  #: why there are no metrics


def to_evaluation(raw: Mapping[str, Any] | None) -> Evaluation | None:
    """The ``evaluation`` block of a job; None for jobs that have none."""
    if not raw:
        return None
    return Evaluation(
        gold_field=raw.get("gold_field"),
        rows=raw.get("rows") or 0,
        without_gold=raw.get("without_gold") or 0,
        one_in=raw.get("one_in") or 1,
        metrics=raw.get("metrics") or {},
        baselines=raw.get("baselines") or {},
        groups=raw.get("groups") or {},
        problem=raw.get("problem"),
    )
