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
            self._masks[window] = self._mask(window, heads.query.device)
        return self._attend(heads, keys, values, self._masks[window])

    @abstractmethod
    def _mask(self, window: int | None, device: torch.device) -> Any:
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

    def _mask(self, window: int | None, device: torch.device) -> Tensor | None:
        """Of the longest sequence: a shorter one's is its upper left corner. None: plainly causal."""
        longest = max(self._lengths)
        whole = self._start + longest
        if not self._start and (window is None or window >= whole):
            return None
        own = torch.arange(self._start, whole, device=device).unsqueeze(1)
        other = torch.arange(whole, device=device).unsqueeze(0)
        return _visible(own, other, window)

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
            # Query heads that share keys stand behind one another, as more tokens of one head.
            made = scaled_dot_product_attention(
                query[:, tokens] if mask is None else _stacked(query[:, tokens], key.shape[0]),
                keys[slot, :, :whole] if mask is not None else key[:, tokens],
                values[slot, :, :whole] if mask is not None else value[:, tokens],
                attn_mask=None if mask is None else mask[:length, :whole].repeat(groups, 1),
                is_causal=mask is None,
                scale=heads.scaling,
                enable_gqa=mask is None and groups > 1,
            )
            attended[tokens] = made.reshape(query.shape[0], length, -1).transpose(0, 1)
        return attended


class Decode(Step):
    """One token of each of the first slots.

    Args:
        positions: of the tokens, which is how many tokens their slots hold already.
    """

    def __init__(self, cache: SlotCache, positions: Tensor, longest: int) -> None:
        super().__init__(cache)
        self._positions = positions
        self._rows = torch.arange(len(positions), device=positions.device)
        self._whole = longest + 1

    def _mask(self, window: int | None, device: torch.device) -> Tensor:
        other = torch.arange(self._whole, device=device).unsqueeze(0)
        return _visible(self._positions.unsqueeze(1), other, window)[:, None, None]

    def _attend(self, heads: Heads, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        query, key, value = heads.query, heads.key, heads.value
        rows = len(self._positions)
        keys[self._rows, :, self._positions] = key.transpose(0, 1)
        values[self._rows, :, self._positions] = value.transpose(0, 1)
        made = scaled_dot_product_attention(
            query.transpose(0, 1).reshape(rows, key.shape[0], -1, query.shape[-1]),
            keys[:rows, :, : self._whole],
            values[:rows, :, : self._whole],
            attn_mask=mask,
            scale=heads.scaling,
        )
        return made.reshape(rows, query.shape[0], -1)


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


def _stacked(query: Tensor, heads: int) -> Tensor:
    return query.reshape(heads, -1, query.shape[-1])
