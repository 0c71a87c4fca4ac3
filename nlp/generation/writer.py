"""Sequences on their way: which token each takes next, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nlp.generation.decoding import Prompt, Written
from nlp.generation.processors import LOOP_LENGTH, gumbel, row_seed


class Writer:
    """One prompt's answer as far as it is written."""

    def __init__(self, position: int, prompt: Prompt) -> None:
        self.position = position  #: among the prompts of the call
        self.prompt = prompt
        self.ids: list[int] = []
        #: What followed on each run of tokens that is one shorter than a loop.
        self._followers: dict[tuple[int, ...], list[int]] = {}
        decoding = prompt.decoding
        self.generator = (
            torch.Generator().manual_seed(row_seed(decoding.seed, prompt.ids))
            if decoding.temperature > 0
            else None
        )

    @property
    def length(self) -> int:
        """Tokens that the model must have read before the next one: prompt and answer."""
        return len(self.prompt) + len(self.ids)

    @property
    def longest(self) -> int:
        """Tokens that prompt and answer can take together."""
        return len(self.prompt) + self.prompt.decoding.max_tokens

    def ruled_out(self) -> list[int]:
        """Tokens that would complete a loop."""
        return self._followers.get(tuple(self.ids[1 - LOOP_LENGTH :]), [])

    def take(self, token: int, ends: frozenset[int]) -> Written | None:
        """Go on with this token; the answer, when it is finished."""
        if token in ends:
            return Written(self.ids, cut=False)
        self.ids.append(token)
        decoding = self.prompt.decoding
        if len(self.ids) >= decoding.max_tokens:
            return Written(self.ids, cut=True)
        if decoding.no_loops and len(self.ids) >= LOOP_LENGTH:
            before = tuple(self.ids[-LOOP_LENGTH:-1])
            self._followers.setdefault(before, []).append(token)
        return None


class Chooser:
    """Chooses the next tokens of sequences.

    Args:
        ends: tokens that end an answer.
        repetition_penalty: divides positive and multiplies negative logits of tokens that were read or written, as the
            model's own generation configuration may ask (https://arxiv.org/abs/1909.05858); 1 does nothing.
    """

    def __init__(self, ends: frozenset[int], repetition_penalty: float) -> None:
        self.ends = ends
        self._end_ids = torch.tensor(sorted(ends))
        self._penalty = repetition_penalty

    def choose(self, logits: Tensor, writers: Sequence[Writer]) -> list[int | None]:
        """The next token of each sequence, or None where the logits are no numbers.

        Args:
            logits: ``[sequences, vocabulary]``, fp32; changed in place.
        """
        for row, writer in enumerate(writers):
            self._prepare(logits[row], writer)
        # The largest of numbers among which one is none is none itself, and so is plus infinity no logit.
        values, tokens = logits.max(dim=1)
        fine = values.isfinite().tolist()
        return [token if good else None for token, good in zip(tokens.tolist(), fine, strict=True)]

    def _prepare(self, logits: Tensor, writer: Writer) -> None:
        """What stands between the logits of one sequence and the choice of the largest."""
        decoding = writer.prompt.decoding
        if self._penalty != 1:
            known = torch.tensor([*{*writer.prompt.ids, *writer.ids}], device=logits.device)
            scores = logits[known]
            logits[known] = torch.where(scores < 0, scores * self._penalty, scores / self._penalty)
        if len(writer.ids) < decoding.min_tokens:
            logits[self._end_ids] = -torch.inf
        if decoding.no_loops and (tokens := writer.ruled_out()):
            logits[tokens] = -torch.inf
        if writer.generator is not None:
            noise = gumbel(logits.shape[0], writer.generator)
            logits.div_(decoding.temperature).add_(noise.to(logits.device))
