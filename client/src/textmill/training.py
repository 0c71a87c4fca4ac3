"""How far a fine-tuning is, as its job says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

#: Heights of a curve in one line of text, lowest first.
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training at one moment. What is not known yet is None."""

    phase: str | None = None  #: ``data``, ``training``, ``evaluation``, ``saving``, ``publishing``
    step: int | None = None
    steps: int | None = None  #: of the whole training
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    evaluated_at: int | None = None  #: step of the last evaluation
    metrics: Mapping[str, float | None] = field(default_factory=dict, hash=False)  #: of that
    checkpoint: int | None = None  #: step of the newest checkpoint that is whole in the store
    curve: Sequence[tuple[int, float]] = ()  #: steps and losses so far, at most about 60


def to_training(raw: Mapping[str, Any] | None) -> Training | None:
    """The ``training`` block of a job; None for jobs that have none."""
    if not raw:
        return None
    evaluation, checkpoint = raw.get("evaluation") or {}, raw.get("checkpoint") or {}
    return Training(
        phase=raw.get("phase"),
        step=raw.get("step"),
        steps=raw.get("steps"),
        epoch=raw.get("epoch"),
        loss=raw.get("loss"),
        learning_rate=raw.get("learning_rate"),
        tokens_per_second=raw.get("tokens_per_second"),
        eta_seconds=raw.get("eta_seconds"),
        evaluated_at=evaluation.get("step"),
        metrics=evaluation.get("metrics") or {},
        checkpoint=checkpoint.get("step"),
        curve=tuple((point[0], point[1]) for point in raw.get("curve") or []),
    )


def sparkline(values: Sequence[float], width: int) -> str:
    """Numbers as a curve of one line: the highest as a full block, the lowest as the smallest one.

    More numbers than there is room for are averaged in groups.
    """
    finite = [value for value in values if value == value and abs(value) != float("inf")]  # noqa: PLR0124
    if not finite or width < 1:
        return ""
    columns = min(width, len(finite))
    edges = [len(finite) * column // columns for column in range(columns + 1)]
    heights = [sum(finite[start:stop]) / (stop - start) for start, stop in pairwise(edges)]
    low, high = min(heights), max(heights)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((height - low) * scale)] for height in heights)
