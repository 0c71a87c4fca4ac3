"""A causal transformers model, called for sequences in slots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import structlog
import torch
from torch import Tensor

from nlp.batching import is_device_lost, is_out_of_memory
from nlp.generation import attention
from nlp.generation.attention import Decode, Prefill, Step
from nlp.generation.slots import SlotCache
from nlp.loading import quiet

log = structlog.get_logger(__name__)

#: Layers whose attention ``attention.py`` can do; configurations that name none have the first sort only.
_LAYERS = frozenset({"full_attention", "sliding_attention"})
#: How far logits may stand from the model's own, as a share of their spread, by format.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.08, torch.float16: 0.02}
#: Lengths of what the check reads: a common beginning and what follows it in two sequences.
_CHECK_SHARED, _CHECK_OWN = 5, (9, 4)


class SlotNetwork:
    """Calls the model without padding: tokens of all sequences behind one another."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.device

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within, the model's attention is that of slots; behind, its own again."""
        attention.register()
        own = self._model.config._attn_implementation  # noqa: SLF001  (there is no other way to read it)
        with quiet(), torch.inference_mode():
            self._model.set_attn_implementation(attention.NAME)
            try:
                yield
            finally:
                self._model.set_attn_implementation(own)

    def prefill(
        self, cache: SlotCache, sequences: Sequence[list[int]], slots: Sequence[int], start: int
    ) -> Tensor:
        """Read sequences into slots that hold ``start`` tokens already; logits ``[sequences, vocabulary]``."""
        lengths = [len(sequence) for sequence in sequences]
        ids = torch.tensor(list(chain.from_iterable(sequences)))
        positions = torch.cat([torch.arange(start, start + length) for length in lengths])
        last = torch.tensor(lengths).cumsum(0) - 1
        return self._logits(ids, positions, last, Prefill(cache, slots, lengths, start))

    def decode(self, cache: SlotCache, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Go on with one token in each of the first slots; logits ``[slots, vocabulary]``."""
        step = Decode(cache, positions, self._device)
        return self._logits(torch.tensor(tokens), step.positions, None, step)

    def _logits(self, ids: Tensor, positions: Tensor, last: Tensor | None, step: Step) -> Tensor:
        made = self._model(
            input_ids=ids.unsqueeze(0).to(self._device),
            position_ids=positions.unsqueeze(0).to(self._device),
            use_cache=False,
            logits_to_keep=0 if last is None else last.to(self._device),
            slots=step,
        )
        logits: Tensor = made.logits[0]
        return logits.float()

    def check(self) -> int | None:
        """Compare with plain calls of the model; bytes that a position takes, or None: it cannot be served.

        Raises:
            Exception: the device has no room or is lost.
        """
        reason = _unfit(self._model.config)
        if reason is None:
            try:
                difference, bytes_per_token = self._difference()
            except Exception as error:
                if is_out_of_memory(error) or is_device_lost(error):
                    raise
                reason = f"{type(error).__name__}: {error}"
            else:
                if difference <= _TOLERANCE[self._model.dtype]:
                    return bytes_per_token
                reason = f"its logits differ by {difference:.2g} of their spread"
        log.warning(
            "generation in padded batches", model=type(self._model).__name__, reason=reason[:300]
        )
        return None

    def _difference(self) -> tuple[float, int]:
        """Largest difference of logits, as a share of their spread, and the bytes that a position takes."""
        shared, sequences = _check_ids(self._model.config.get_text_config().vocab_size)
        cache = SlotCache(len(sequences), _CHECK_SHARED + max(_CHECK_OWN))
        slots = range(len(sequences))
        reads = [sequence[:-1] for sequence in sequences]
        with self.in_use():
            self.prefill(cache, [shared], [0], 0)
            cache.share(len(shared))
            read = self.prefill(cache, reads, slots, len(shared))
            positions = [len(shared) + len(sequence) - 1 for sequence in sequences]
            written = self.decode(cache, [sequence[-1] for sequence in sequences], positions)
        worst = 0.0
        for row, sequence in enumerate(sequences):
            with quiet(), torch.inference_mode():
                ids = torch.tensor([[*shared, *sequence]], device=self._device)
                plain = self._model(input_ids=ids, use_cache=False).logits[0, -2:].float()
            ours = torch.stack([read[row], written[row]])
            spread = (plain - plain.mean(dim=1, keepdim=True)).norm()
            difference = float((ours - plain).norm() / spread)
            worst = max(worst, difference if math.isfinite(difference) else math.inf)
        return worst, cache.bytes_per_token()


def _unfit(config: Any) -> str | None:
    """Why a model of this configuration cannot be served, as far as that can be told in advance."""
    layers = set(getattr(config.get_text_config(), "layer_types", None) or ())
    if not layers <= _LAYERS:
        return f"it has layers of the sort {', '.join(sorted(layers - _LAYERS))}"
    return None


def _check_ids(vocabulary: int) -> tuple[list[int], list[list[int]]]:
    """A common beginning and what follows it in each sequence: tokens drawn once and for all."""
    generator = torch.Generator().manual_seed(1)
    shared, *sequences = [
        torch.randint(vocabulary, (length,), generator=generator).tolist()
        for length in (_CHECK_SHARED, *_CHECK_OWN)
    ]
    return shared, sequences
