"""Whether generations agree with the reference's, by precision ("Correctness, by precision" of the design)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from jobs.rows import RowFailure
from nlp.generation.decoding import Prompt, Written
from nlp.generation.model import GeneratorModel
from nlp.generation.padded import PaddedEngine

#: Most by which the reference may prefer its own token, in logits, where two generations first differ: in bf16 and
#: int8, and between engines that both compute in fp32, where only rounding can tell.
MOST_GAP, EXACT_GAP = 0.5, 0.01
#: Most by which the reference's beams may score higher, in log probability after the length penalty. A beam that
#: was dropped early leaves no gap at any one token.
BEAM_SLACK = 0.05

_Pair = tuple[Prompt, Written | RowFailure]


def generations_disagree(
    reference: GeneratorModel, expected: Sequence[_Pair], found: Sequence[_Pair], *, exact: bool
) -> str | None:
    """Why these generations are not as good as the reference's, or None when they are.

    Compared are the prompts that both had: where a document takes several rounds, later prompts hold what was
    written in earlier ones.
    """
    engine = reference.engine
    if not isinstance(engine, PaddedEngine):
        raise TypeError("expected the reference engine")
    others = {_key(prompt): written for prompt, written in found}
    judge = _Judge(engine)
    allowed = EXACT_GAP if exact else MOST_GAP
    for number, (prompt, written) in enumerate(expected):
        other = others.get(_key(prompt))
        if other is None or other == written:
            continue
        if isinstance(written, RowFailure) or isinstance(other, RowFailure):
            return f"prompt {number}: only one of the two failed"
        lost = judge.loss(prompt, written, other)
        if lost > (BEAM_SLACK if judge.beams(prompt) > 1 else allowed):
            return f"prompt {number}: another answer, {lost:.2f} less likely than the expected one"
    return None


class _Judge:
    """Asks the reference how much it prefers one answer to another."""

    def __init__(self, engine: PaddedEngine) -> None:
        self._network: Any = engine.model
        self._checkpoint = engine.checkpoint
        self._ends = sorted(engine.checkpoint.ends)

    def beams(self, prompt: Prompt) -> int:
        """How many beams looked for the answer."""
        return prompt.decoding.num_beams or self._checkpoint.own_beams

    def loss(self, prompt: Prompt, expected: Written, found: Written) -> float:
        """For greedy search the gap where the two first differ; for beams the difference of their scores."""
        if self.beams(prompt) > 1:
            return self._score(prompt, expected) - self._score(prompt, found)
        one, other = _closed(expected), _closed(found)
        pairs = enumerate(zip(one, other, strict=False))
        place = next((number for number, (a, b) in pairs if a != b), None)
        if place is None:
            return float("inf")  # one stopped for a reason that no token can tell
        logits = self._logits(prompt, expected.ids[:place])[-1]
        return self._of(logits, one[place]) - self._of(logits, other[place])

    def _score(self, prompt: Prompt, written: Written) -> float:
        tokens = _closed(written)
        chances = self._logits(prompt, written.ids).log_softmax(dim=-1)
        places = range(len(chances) - len(written.ids) - 1, len(chances))
        total = sum(
            self._of(chances[place], token) for place, token in zip(places, tokens, strict=False)
        )
        penalty = self._checkpoint.generation.length_penalty
        return float(total / max(1, len(tokens)) ** (1.0 if penalty is None else penalty))

    def _of(self, values: Tensor, token: int | None) -> float:
        """The value of a token; of the closing one, whichever of them comes first."""
        return float(values[self._ends].max() if token is None else values[token])

    def _logits(self, prompt: Prompt, begun: Sequence[int]) -> Tensor:
        """``[tokens, vocabulary]``, fp32, on the CPU: what may follow each token; behind the last one, last."""
        checkpoint = self._checkpoint
        if checkpoint.is_seq2seq:
            inputs = {
                "input_ids": [prompt.ids],
                "decoder_input_ids": [[checkpoint.start, *prompt.forced, *begun]],
            }
        else:
            inputs = {"input_ids": [[*prompt.ids, *begun]]}
        device = self._network.device
        tensors = {name: torch.tensor(ids, device=device) for name, ids in inputs.items()}
        with torch.inference_mode():
            logits: Tensor = self._network(**tensors).logits[0]
        return logits.float().cpu()


def _closed(written: Written) -> list[int | None]:
    """The answer's tokens, and None for a closing one where it came to an end."""
    return [*written.ids] if written.cut else [*written.ids, None]


def _key(prompt: Prompt) -> tuple[Any, ...]:
    return (tuple(prompt.ids), prompt.forced, prompt.decoding)
