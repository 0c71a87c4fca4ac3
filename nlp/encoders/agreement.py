"""Whether a quick way of computing gives what plain transformers gives in fp32, one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Rows that are compared, ...
_ROWS = 6
#: ... and the most tokens that they have together: the reference reads them one by one.
_TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far scores may be from those of fp32."""

    score: float  #: most that any score may differ by
    margin: float  #: labels must be equal where fp32's best two scores are further apart than this
    angle: float  #: most that an embedding of unit length may be moved by


#: "Correctness, by precision": fp32 engines to 1e-4; others to 0.03 at most, labels equal at margins over 0.02.
#: An embedding's cosine with a label is moved by no more than the embedding is.
EXACT = Tolerance(score=1e-4, margin=2e-4, angle=1e-4)
ROUNDED = Tolerance(score=0.03, margin=0.02, angle=0.03)


def tolerance_of(dtype: torch.dtype) -> Tolerance:
    """What holds for an engine that computes in this number format."""
    return EXACT if dtype == torch.float32 else ROUNDED


def sample(lengths: Sequence[int]) -> list[int]:
    """Positions of a few rows from the shortest to the longest, which together cost little."""
    order = sorted(range(len(lengths)), key=lambda position: lengths[position])
    count = min(_ROWS, len(order))
    steps = max(1, count - 1)
    chosen = dict.fromkeys(order[place * (len(order) - 1) // steps] for place in range(count))
    kept: list[int] = []
    for position in chosen:
        if not kept or sum(lengths[other] for other in kept) + lengths[position] <= _TOKENS:
            kept.append(position)
    return kept


def scores_disagree(found: Tensor, expected: Tensor, tolerance: Tolerance) -> str | None:
    """What is wrong with scores ``[rows, labels]``, or None. Rows that are not finite on both sides agree."""
    both = torch.isfinite(found).all(dim=1) | torch.isfinite(expected).all(dim=1)
    found, expected = found[both], expected[both]
    if not len(found):
        return None
    worst = float((found - expected).abs().max())
    if not worst <= tolerance.score:
        return f"a score differs by {worst:.2g}, more than {tolerance.score:g}"
    best = expected.topk(min(2, expected.shape[1]), dim=1)
    clear = best.values[:, 0] - best.values[:, -1] > tolerance.margin
    if bool((found.argmax(dim=1) != best.indices[:, 0])[clear].any()):
        return "a label differs"
    return None


def embeddings_disagree(found: Tensor, expected: Tensor, tolerance: Tolerance) -> str | None:
    """What is wrong with embeddings ``[rows, size]`` of unit length, or None."""
    both = torch.isfinite(found).all(dim=1) | torch.isfinite(expected).all(dim=1)
    if not bool(both.any()):
        return None
    worst = float((found - expected)[both].norm(dim=1).max())
    if not worst <= tolerance.angle:
        return f"an embedding moved by {worst:.2g}, more than {tolerance.angle:g}"
    return None
