"""What stands between a model's scores and the token that is taken."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import LogitsProcessor

#: Tokens of a sequence that no answer may hold twice.
LOOP_LENGTH = 6


class NonFiniteGuard(LogitsProcessor):
    """Notes rows with scores that are not numbers, and lets them go on with harmless ones."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._bad: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # Minus infinity is how tokens are ruled out; anything else that is not finite is a fault.
        bad = (scores.isnan() | (scores == torch.inf)).any(dim=1)
        seen = bad.view(self._rows, -1).any(dim=1)
        self._bad = seen if self._bad is None else self._bad | seen
        return scores.masked_fill(bad.unsqueeze(1), 0.0)

    def bad_rows(self) -> list[bool]:
        """For each row, whether it ever had such scores."""
        return [False] * self._rows if self._bad is None else cast(list[bool], self._bad.tolist())


class NoLoops(LogitsProcessor):
    """Rules out tokens that would complete a sequence of six for the second time in an answer.

    Small models under greedy decoding fall into loops. Whatever stands in front of ``start`` does not count.
    """

    def __init__(self, start: int) -> None:
        self._start = start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        written = input_ids[:, self._start :]
        tail = LOOP_LENGTH - 1
        if written.shape[1] <= tail:
            return scores
        earlier = written.unfold(1, tail, 1)[:, :-1]
        rows, places = (earlier == written[:, None, -tail:]).all(dim=2).nonzero(as_tuple=True)
        scores = scores.clone()
        scores[rows, written[rows, places + tail]] = -torch.inf
        return scores


class Sampler(LogitsProcessor):
    """Makes the likeliest token a sample, with noise that is drawn for each row by itself."""

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        self._temperature = temperature
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = torch.stack([gumbel(scores.shape[1], generator) for generator in self._generators])
        return scores.float() / self._temperature + noise.to(scores.device)


def gumbel(size: int, generator: torch.Generator) -> Tensor:
    """Noise with which the likeliest token becomes a sample.

    The largest of ``logit / temperature + noise`` is distributed as the softmax of ``logit / temperature``
    (the Gumbel-max trick, https://arxiv.org/abs/1411.0030); the noise is minus the logarithm of an
    exponential draw. It is drawn on the CPU, so that a seed means the same on every device.
    """
    draws = torch.empty(size).exponential_(generator=generator)
    return -draws.clamp(min=torch.finfo(torch.float32).tiny).log()


def row_seed(seed: int, prompt: Sequence[int]) -> int:
    """The seed of one prompt's draws."""
    digest = hashlib.sha256(f"{seed}:{list(prompt)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
