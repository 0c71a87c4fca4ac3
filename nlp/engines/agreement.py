"""Whether labels agree with the reference's, by precision ("Correctness, by precision" of the design)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.rows import Outcome, RowFailure

#: Most difference of a score between engines that both compute in fp32.
EXACT_SCORE = 1e-4
#: Most difference of a score in bf16 and int8: of any score, and of 99 in 100.
MOST_SCORE, USUAL_SCORE = 0.03, 0.01
#: Labels must be equal where the reference's best two scores are further apart than this.
MARGIN = 0.02


def labels_disagree(
    expected: Sequence[Outcome], found: Sequence[Outcome], *, exact: bool
) -> str | None:
    """Why these labels are not as good as the reference's, or None when they are.

    Outcomes are those of ``classify``: ``label`` and ``labels``, a list of ``label`` and ``score``.
    """
    differences: list[float] = []
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        if isinstance(one, RowFailure) or isinstance(other, RowFailure):
            if one != other:
                return f"row {number}: only one of the two failed"
            continue
        scores, others = _scores(one.output), _scores(other.output)
        best = sorted(scores.values(), reverse=True)[:2]
        clear = len(best) < 2 or best[0] - best[1] > (EXACT_SCORE if exact else MARGIN)
        if clear and one.output["label"] != other.output["label"]:
            return (
                f"row {number}: label {other.output['label']!r}, expected {one.output['label']!r}"
            )
        # Labels that only one of the two lists lie at the edge of ``top_k`` or a threshold.
        differences += [abs(scores[label] - others[label]) for label in scores.keys() & others]
    worst = max(differences, default=0.0)
    if worst > (EXACT_SCORE if exact else MOST_SCORE):
        return f"a score differs by {worst:.4f}"
    usual = sorted(differences)[: -(len(differences) // 100) - 1 or None]
    if not exact and usual and len(differences) >= 100 and usual[-1] > USUAL_SCORE:
        return f"more than 1 in 100 scores differ by over {USUAL_SCORE}"
    return None


def _scores(output: Mapping[str, Any]) -> dict[str, float]:
    return {entry["label"]: float(entry["score"]) for entry in output["labels"]}
