"""Attention of sequences that live in slots, in place of a transformers model's own.

The model is called with the tokens of all sequences behind one another, without padding, as one row. Everything in it
that looks at one token at a time then wastes nothing, and only attention must know which token belongs to whom.
transformers lets a function be registered for that (https://huggingface.co/docs/transformers/attention_interface).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from nlp.generation.slots import SlotCache

#: The name under which transformers knows the function.
NAME = "textmill_slots"
#: Slots that are attended together while one token is added to each, on a CPU.
_DECODE_GROUP = 16
#: What attention functions are told beside what this one understands; harmless where they say nothing.
_FOREIGN = ("softcap", "position_bias", "s_aux", "head_mask")


@dataclass(frozen=True)
class Heads:
    """What attention is computed of: ``[heads, tokens, size]`` each; fewer heads of keys than of queries."""

    query: Tensor
    key: Tensor
    value: Tensor
    scaling: float | None  #: of the products of queries and keys; None: by the root of the size


class Step(ABC):
    """One call of the model: which tokens belong to which slots."""

    def __init__(self, cache: SlotCache) -> None:
        self._cache = cache
        self._masks: dict[int | None, Any] = {}

    def attend(self, layer: int, heads: Heads, window: int | None) -> Tensor:
        """Write keys and values into the slots; attention as ``[tokens, heads, size]``.

        Args:
            window: how many tokens a token sees, itself included; None: all before it.
        """
        keys, values = self._cache.layer(layer, heads.key, heads.value)
        if window not in self._masks:
            self._masks[window] = self._mask(window, heads.query.device, heads.query.dtype)
        return self._attend(heads, keys, values, self._masks[window])

    @abstractmethod
    def _mask(self, window: int | None, device: torch.device, dtype: torch.dtype) -> Any:
        """Made once for all layers with this window."""

    @abstractmethod
    def _attend(self, heads: Heads, keys: Tensor, values: Tensor, mask: Any) -> Tensor:
        """The same for one layer with its storage."""


class Prefill(Step):
    """Whole sequences, one behind the other.

    Args:
        slots: of the sequences.
        lengths: their tokens in this call.
        start: tokens that each slot holds already.
    """

    def __init__(
        self, cache: SlotCache, slots: Sequence[int], lengths: Sequence[int], start: int
    ) -> None:
        super().__init__(cache)
        self._slots = slots
        self._lengths = lengths
        self._start = start

    def _mask(self, window: int | None, device: torch.device, dtype: torch.dtype) -> Tensor | None:
        """Of the longest sequence: a shorter one's is its upper left corner. None: plainly causal."""
        longest = max(self._lengths)
        whole = self._start + longest
        if not self._start and (window is None or window >= whole):
            return None
        own = torch.arange(self._start, whole, device=device).unsqueeze(1)
        other = torch.arange(whole, device=device).unsqueeze(0)
        return _weights(_visible(own, other, window), dtype)

    def _attend(self, heads: Heads, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = heads.query, heads.key, heads.value
        groups = query.shape[0] // key.shape[0]
        attended = query.new_empty(query.shape[1], query.shape[0], values.shape[-1])
        first = 0
        for slot, length in zip(self._slots, self._lengths, strict=True):
            tokens = slice(first, first + length)
            first += length
            whole = self._start + length
            keys[slot, :, self._start : whole] = key[:, tokens]
            values[slot, :, self._start : whole] = value[:, tokens]
            made = scaled_dot_product_attention(
                query[None, :, tokens],
                keys[None, slot, :, :whole],
                values[None, slot, :, :whole],
                attn_mask=None if mask is None else mask[:length, :whole],
                is_causal=mask is None,
                scale=heads.scaling,
                enable_gqa=groups > 1,
            )
            attended[tokens] = made[0].transpose(0, 1)
        return attended


class Decode(Step):
    """One token of each of the first slots.

    Neighbouring slots are attended in groups, each as far as its own longest sequence reaches: on a CPU many slots
    at once gain nothing, and short sequences would pay for long ones.

    Args:
        positions: of the tokens, which is how many tokens their slots hold already.
    """

    def __init__(self, cache: SlotCache, positions: Sequence[int], device: torch.device) -> None:
        super().__init__(cache)
        self.positions = torch.tensor(positions, device=device)
        self._rows = torch.arange(len(positions), device=device)
        size = _DECODE_GROUP if device.type == "cpu" else len(positions)
        self._groups = [
            (slice(first, first + size), max(positions[first : first + size]) + 1)
            for first in range(0, len(positions), size)
        ]

    def _mask(self, window: int | None, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
        masks = []
        for slots, whole in self._groups:
            other = torch.arange(whole, device=device).unsqueeze(0)
            visible = _visible(self.positions[slots].unsqueeze(1), other, window)
            masks.append(_weights(visible, dtype)[:, None, None])
        return masks

    def _attend(self, heads: Heads, keys: Tensor, values: Tensor, mask: list[Tensor]) -> Tensor:
        query, key, value = heads.query, heads.key, heads.value
        rows = len(self.positions)
        keys[self._rows, :, self.positions] = key.transpose(0, 1)
        values[self._rows, :, self.positions] = value.transpose(0, 1)
        # Query heads that share keys stand behind one another, as more tokens of one head.
        stacked = query.transpose(0, 1).reshape(rows, key.shape[0], -1, query.shape[-1])
        made = [
            scaled_dot_product_attention(
                stacked[slots],
                keys[:rows][slots, :, :whole],
                values[:rows][slots, :, :whole],
                attn_mask=weights,
                scale=heads.scaling,
            )
            for (slots, whole), weights in zip(self._groups, mask, strict=True)
        ]
        return torch.cat(made).reshape(rows, query.shape[0], -1)


def slot_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    slots: Step,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: heads ``[1, heads, tokens, size]`` in, ``[1, tokens, heads, size]`` out.

    Raises:
        NotImplementedError: the model wants more than plain attention.
    """
    wanted = [name for name in _FOREIGN if others.get(name) is not None]
    if wanted or attention_mask is not None:
        raise NotImplementedError(f"attention with {wanted or 'a mask'}")
    heads = Heads(query[0], key[0], value[0], scaling)
    made = slots.attend(module.layer_idx, heads, sliding_window)
    return made.unsqueeze(0), None


def register() -> None:
    """Let transformers know the function; more than once does no harm."""
    known: Any = AttentionInterface  # has no types
    known.register(NAME, slot_attention)


def _visible(own: Tensor, other: Tensor, window: int | None) -> Tensor:
    visible = other <= own
    return visible if window is None else visible & (other > own - window)


def _weights(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the products of queries and keys; made of truth values once, not anew in every layer."""
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, -torch.inf)
