"""From one score per label to what a row of results says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

#: How labels get their scores: a trained head, entailment between text and hypothesis, or likeness of embeddings.
Method = Literal["head", "nli", "embedding"]

#: Without ``top_k`` all labels are listed up to this many, ...
ALL_LABELS = 10
#: ... and beyond it only this many.
SOME_LABELS = 5
#: Decimals of a score; fp32 holds no more.
_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which labels a row's output lists, and which one it names."""

    multi_label: bool = False
    top_k: int | None = None
    threshold: float | None = None

    def output(
        self, labels: Sequence[str], scores: Sequence[float], method: Method
    ) -> dict[str, Any]:
        """Labels by descending score, ties in the order of ``labels``.

        With a threshold, ``label`` is null when the best score is below it, and with ``multi_label`` only
        labels that reach it are listed. ``score`` is always the best one.
        """
        order = sorted(range(len(labels)), key=lambda position: -scores[position])
        best = order[0]
        enough = self.threshold is None or scores[best] >= self.threshold
        if self.multi_label and self.threshold is not None:
            order = [position for position in order if scores[position] >= self.threshold]
        count = self.top_k or (len(labels) if len(labels) <= ALL_LABELS else SOME_LABELS)
        return {
            "label": labels[best] if enough else None,
            "score": round(scores[best], _DECIMALS),
            "labels": [
                {"label": labels[position], "score": round(scores[position], _DECIMALS)}
                for position in order[:count]
            ],
            "method": method,
        }


def softmax(logits: Sequence[float]) -> list[float]:
    """Shares that add up to 1."""
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    total = sum(weights)
    return [weight / total for weight in weights]


def entailment_scores(
    entailment: Sequence[float], contradiction: Sequence[float], *, multi_label: bool
) -> list[float]:
    """Scores of labels from the logits of their hypotheses, as in zero-shot classification by entailment.

    One label: softmax of the entailment logits over the labels. Several: for each label by itself,
    entailment against contradiction. Source: Yin, Hay and Roth, 2019, https://arxiv.org/abs/1909.00161.
    """
    if not multi_label:
        return softmax(entailment)
    pairs = zip(entailment, contradiction, strict=True)
    return [softmax([against, for_it])[1] for for_it, against in pairs]
