"""Continuous writing: as soon as one answer ends, the next prompt takes its place.

A padded batch runs until its longest answer is finished, and most of its rows wait. Here each sequence has a slot of
a preallocated cache at its own position; a slot that falls free is given to the next prompt, and towards the end the
sequences move together. What all prompts begin with, such as an instruction, is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from jobs.rows import RowFailure
from nlp.batching import Failed, attempt, release_memory
from nlp.generation.cohorts import Cohort, plan_cohorts
from nlp.generation.decoding import Prompt, Written
from nlp.generation.engine import Done, GenerationEngine
from nlp.generation.network import SlotNetwork
from nlp.generation.padded import PaddedEngine
from nlp.generation.rollout import Rollout
from nlp.generation.writer import Chooser

#: Sequences written at once, by type of device: more gain nothing.
_MAX_SLOTS = {"cpu": 64, "cuda": 256}
#: Tokens of prompts that are read in one call, by type of device.
_PREFILL_TOKENS = {"cpu": 1024, "cuda": 16_384}
#: Memory for keys and values on a CPU; on other devices half of what is free.
_CPU_CACHE_BYTES = 2 << 30
#: What a generation configuration may ask for beside a repetition penalty, and how it says that it does not.
_PROCESSORS = (
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "bad_words_ids",
    "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "sequence_bias",
    "exponential_decay_length_penalty", "guidance_scale", "watermarking_config", "stop_strings",
)  # fmt: skip
_NEUTRAL: tuple[object, ...] = (None, 0, 1, [])


class RefillEngine(GenerationEngine):
    """A causal transformers model whose attention can be that of slots."""

    name = "torch"

    def __init__(
        self, padded: PaddedEngine, network: SlotNetwork, bytes_per_token: int, chooser: Chooser
    ) -> None:
        self._padded = padded
        self._network = network
        self._bytes_per_token = bytes_per_token
        self._chooser = chooser
        device = padded.device.type
        self._max_slots = _MAX_SLOTS[device]
        self._prefill_tokens = _PREFILL_TOKENS[device]

    @classmethod
    def around(cls, padded: PaddedEngine) -> GenerationEngine:
        """An engine with the same weights that writes continuously, or the padded one where it cannot be."""
        penalty = _penalty(padded.checkpoint.generation)
        if penalty is None:
            return padded
        network = SlotNetwork(padded.model)
        bytes_per_token = network.check()
        if bytes_per_token is None:
            return padded
        padded.pack()
        return cls(padded, network, bytes_per_token, Chooser(padded.checkpoint.ends, penalty))

    @property
    def network(self) -> Any:
        return self._padded.network

    @property
    def precision(self) -> str:
        return self._padded.precision

    @property
    def architecture(self) -> str:
        return self._padded.architecture

    @property
    def memory_bytes(self) -> int:
        return self._padded.memory_bytes

    def write(self, prompts: Sequence[Prompt], done: Done) -> list[Written | RowFailure]:
        results: dict[int, Written | RowFailure] = {}
        searched = [
            position
            for position, prompt in enumerate(prompts)
            if (prompt.decoding.num_beams or 1) > 1
        ]
        if searched:
            made = self._padded.write(
                [prompts[position] for position in searched],
                lambda batch: done([searched[place] for place in batch]),
            )
            results.update(zip(searched, made, strict=True))
        with self._network.in_use():
            self._write(prompts, results, done)
        return [results[position] for position in range(len(prompts))]

    def _write(
        self, prompts: Sequence[Prompt], results: dict[int, Written | RowFailure], done: Done
    ) -> None:
        """Fill in the results that are missing."""
        lengths = [len(prompt) + prompt.decoding.max_tokens for prompt in prompts]

        def plan(positions: Sequence[int]) -> list[Cohort]:
            missing = [position for position in positions if position not in results]
            tokens = self._cache_bytes() // self._bytes_per_token
            return plan_cohorts(missing, lengths, max_slots=self._max_slots, max_tokens=tokens)

        waiting = plan(range(len(prompts)))[::-1]
        while waiting:
            cohort = waiting.pop()
            failed = self._run(cohort, prompts, results, done)
            if failed is None:
                continue
            if failed.out_of_memory:
                release_memory()
            left = [position for position in cohort.positions if position not in results]
            if failed.out_of_memory and cohort.slots > 1:
                self._max_slots = cohort.slots // 2
                self._prefill_tokens = max(1, self._prefill_tokens // 2)
                waiting += plan(left)[::-1]
            elif failed.out_of_memory or len(left) == 1:
                results[left[0]] = failed.of_row()  # alone in its slot: it was in hand
                done(left[:1])
                waiting += plan(left[1:])[::-1]
            else:
                middle = len(left) // 2
                waiting += [*plan(left[middle:])[::-1], *plan(left[:middle])[::-1]]

    def _run(
        self,
        cohort: Cohort,
        prompts: Sequence[Prompt],
        results: dict[int, Written | RowFailure],
        done: Done,
    ) -> Failed | None:
        """Write a cohort; what failed, if anything did."""
        steps = Rollout(self._network, self._chooser, cohort, prompts, self._prefill_tokens).steps()
        while True:
            finished = attempt(lambda: next(steps, None))
            if finished is None or isinstance(finished, Failed):
                return finished
            if finished:
                results.update(finished)
                done([position for position, _ in finished])

    def _cache_bytes(self) -> int:
        device = self._padded.device
        if device.type == "cpu":
            return _CPU_CACHE_BYTES
        free: int = torch.cuda.mem_get_info(device)[0]
        return free // 2


def _penalty(generation: GenerationConfig) -> float | None:
    """The repetition penalty that the model asks for, or None where it asks for more than that."""
    if any(getattr(generation, name, None) not in _NEUTRAL for name in _PROCESSORS):
        return None
    penalty = generation.repetition_penalty
    return 1.0 if penalty is None else float(penalty)
