"""How fast a device multiplies matrices of a model's own shapes, and how much of that an encoder's products need."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch.nn.functional import linear

#: Tokens of the measured products: a batch on a CPU; a GPU wants more at once.
_TOKENS = {"cpu": 4096, "cuda": 65_536}
_REPEATS = 7


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An encoder of the BERT family."""

    size: int  #: of a state
    inner: int  #: of the feed-forward part
    layers: int

    def products(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of a layer's products: queries, keys and values together, out, up, down."""
        size, inner = self.size, self.inner
        return (size, 3 * size), (size, size), (size, inner), (inner, size)

    def flops(self, lengths: Sequence[int]) -> float:
        """Of all products for texts of these lengths, attention's too, multiplication and addition counted apart."""
        dense = 2.0 * sum(rows * columns for rows, columns in self.products())
        looks = 4.0 * self.size
        return self.layers * sum(length * dense + length * length * looks for length in lengths)

    def flops_for_heads(self, lengths: Sequence[int]) -> float:
        """The same where the last layer is computed for each text's first token alone."""
        size = self.size
        dense = 2.0 * sum(rows * columns for rows, columns in self.products())
        both = 4.0 * size * size  # keys and values, which the first token looks at
        last = sum(dense - both + length * both + length * 4.0 * size for length in lengths)
        return self.flops(lengths) * (self.layers - 1) / self.layers + last


def peak_flops(shape: Shape, device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second over one layer's products, each on its own and nothing between them."""
    tokens = _TOKENS[device.type]
    seconds = operations = 0.0
    with torch.inference_mode():
        for inputs, outputs in shape.products():
            x = torch.randn(tokens, inputs, device=device, dtype=dtype)
            weight = torch.randn(outputs, inputs, device=device, dtype=dtype)
            runs = [_seconds(x, weight) for _ in range(_REPEATS)]
            seconds += median(runs[1:])
            operations += 2.0 * tokens * inputs * outputs
    return operations / seconds


def _seconds(x: torch.Tensor, weight: torch.Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize()
    begun = time.perf_counter()
    linear(x, weight)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begun
