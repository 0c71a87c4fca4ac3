"""transformers' own ``generate`` on padded batches: serves every model and beams too."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor

from jobs.devices import Device
from jobs.kinds import Precision
from jobs.rows import RowFailure
from nlp.batching import TokenBudget, run_batches
from nlp.generation.checkpoint import Checkpoint
from nlp.generation.decoding import Decoding, Prompt, Written
from nlp.generation.engine import Done, GenerationEngine, alike
from nlp.generation.processors import NoLoops, NonFiniteGuard, Sampler, row_seed
from nlp.loading import load_weights, quiet, weights_bytes
from nlp.packed_linear import pack_linears
from nlp.precision import compute_dtype, dtype_name

#: Padded tokens of a batch, answers included and times the number of beams, by type of device.
_BUDGET = {"cpu": 8192, "cuda": 65_536}
#: Rows of a batch, by type of device: more gain nothing and wait longer for the slowest.
_MAX_ROWS = {"cpu": 32, "cuda": 128}


class PaddedEngine(GenerationEngine):
    """A transformers model and batches of prompts of like length."""

    name = "torch"

    def __init__(self, model: Any, checkpoint: Checkpoint, device: Device) -> None:
        self.model = model
        self.checkpoint = checkpoint
        self.device = torch.device(device.torch_name)
        self._budget = TokenBudget(_BUDGET[device.type], _MAX_ROWS[device.type])

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: Device, precision: Precision) -> PaddedEngine:
        """Load the weights.

        Raises:
            JobFailure: ``model_unsupported``, the files do not hold this model.
        """
        dtype = compute_dtype(device, precision)
        model = load_weights(
            checkpoint.auto_class, checkpoint.files, checkpoint.config, device, dtype
        )
        engine = cls(model, checkpoint, device)
        if checkpoint.is_seq2seq:
            engine.pack()
        return engine

    def pack(self) -> None:
        """Lay out the weights for the processor, where the model bears it."""
        ids = torch.arange(1, 9, device=self.device).unsqueeze(0)
        inputs = {"input_ids": ids, "use_cache": False}
        if self.checkpoint.is_seq2seq:
            inputs["decoder_input_ids"] = ids[:, :4]

        def try_out() -> Tensor:
            with quiet(), torch.inference_mode():
                return cast(Tensor, self.model(**inputs).logits)

        pack_linears(self.model, try_out)

    @property
    def network(self) -> Any:
        return self.model

    @property
    def precision(self) -> str:
        return dtype_name(self.model.dtype)

    @property
    def architecture(self) -> str:
        return type(self.model).__name__

    @property
    def memory_bytes(self) -> int:
        return weights_bytes(self.model)

    def write(self, prompts: Sequence[Prompt], done: Done) -> list[Written | RowFailure]:
        results: dict[int, Written | RowFailure] = {}
        for (decoding, forced), group in alike(prompts).items():
            results.update(self._write_alike(prompts, group, decoding, forced, done))
        return [results[position] for position in range(len(prompts))]

    def _write_alike(
        self,
        prompts: Sequence[Prompt],
        group: Sequence[int],
        decoding: Decoding,
        forced: tuple[int, ...],
        done: Done,
    ) -> dict[int, Written | RowFailure]:
        """Prompts that differ in their text only, which ``generate`` can take in one batch."""
        beams = decoding.num_beams or self.checkpoint.own_beams
        room = decoding.max_tokens + len(forced)
        made = run_batches(
            [(len(prompts[position]) + room) * beams for position in group],
            lambda batch: self._batch([prompts[group[place]] for place in batch], decoding, forced),
            self._budget,
            lambda batch: done([group[place] for place in batch]),
        )
        return dict(zip(group, made, strict=True))

    def _batch(
        self, prompts: Sequence[Prompt], decoding: Decoding, forced: tuple[int, ...]
    ) -> list[Written | RowFailure]:
        longest = max(len(prompt) for prompt in prompts)
        is_seq2seq = self.checkpoint.is_seq2seq
        ids = torch.full((len(prompts), longest), self.checkpoint.pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            # New tokens follow the prompt, so a decoder's padding goes in front.
            place = slice(0, len(prompt)) if is_seq2seq else slice(longest - len(prompt), None)
            ids[row, place] = torch.tensor(prompt.ids)
            mask[row, place] = 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.checkpoint.config.model_type == "led":
            # Trained so: all tokens see the first one, and it sees all (https://arxiv.org/abs/2004.05150).
            inputs["global_attention_mask"] = torch.zeros_like(ids)
            inputs["global_attention_mask"][:, 0] = 1
        start = 0 if is_seq2seq else longest
        if is_seq2seq:
            begun = [self.checkpoint.start, *(forced if len(forced) > 1 else ())]
            inputs["decoder_input_ids"] = torch.tensor(begun).expand(len(prompts), -1)
            start = len(begun) + (len(forced) == 1)
        guard = NonFiniteGuard(len(prompts))
        with quiet(), torch.inference_mode():
            sequences: Tensor = self.model.generate(
                **{name: tensor.to(self.device) for name, tensor in inputs.items()},
                generation_config=self._generation_config(decoding, forced),
                logits_processor=_processors(prompts, decoding, guard, start),
            )
        return [
            RowFailure("non_finite", "The model's scores for this row are not finite.")
            if bad
            else self._written(row, decoding.max_tokens)
            for row, bad in zip(sequences[:, start:].tolist(), guard.bad_rows(), strict=True)
        ]

    def _written(self, ids: list[int], max_tokens: int) -> Written:
        ends = self.checkpoint.ends
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        return Written(ids[:end], cut=end is None and len(ids) >= max_tokens)

    def _generation_config(self, decoding: Decoding, forced: tuple[int, ...]) -> GenerationConfig:
        """The model's own settings (such as a length penalty), with the lengths and the choice of ours.

        One forced token is left to ``generate``, which counts it among the new ones and in the scores of beams.
        """
        config = copy.deepcopy(self.model.generation_config)
        beams = decoding.num_beams or self.checkpoint.own_beams
        counted = int(len(forced) == 1)
        config.update(
            do_sample=False, temperature=None, top_p=None, top_k=None, typical_p=None, min_p=None,
            num_beams=1 if decoding.temperature > 0 else beams,
            max_length=None, min_length=None,
            max_new_tokens=decoding.max_tokens + counted,
            min_new_tokens=decoding.min_tokens + counted if decoding.min_tokens else None,
            eos_token_id=sorted(self.checkpoint.ends), pad_token_id=self.checkpoint.pad,
        )  # fmt: skip
        if forced:
            config.update(forced_bos_token_id=forced[0] if counted else None)
        return cast(GenerationConfig, config)


def _processors(
    prompts: Sequence[Prompt], decoding: Decoding, guard: NonFiniteGuard, start: int
) -> list[LogitsProcessor]:
    processors: list[LogitsProcessor] = [guard]
    if decoding.no_loops:
        processors.append(NoLoops(start))
    if decoding.temperature > 0:
        seeds = [row_seed(decoding.seed, prompt.ids) for prompt in prompts]
        processors.append(Sampler(decoding.temperature, seeds))
    return processors
