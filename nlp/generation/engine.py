"""What computes: the small interface behind which torch and CTranslate2 write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from jobs.rows import RowFailure
from nlp.generation.decoding import Decoding, Prompt, Written

#: Told the positions of prompts that are finished. What it raises ends the run.
Done = Callable[[Sequence[int]], None]


class GenerationEngine(ABC):
    """A model's weights, ready to write."""

    name: str  #: ``torch`` or ``ctranslate2``

    @property
    @abstractmethod
    def precision(self) -> str:
        """``fp32``, ``bf16``, ``fp16`` or ``int8``."""

    @property
    @abstractmethod
    def architecture(self) -> str:
        """The model's class, as its configuration names it."""

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes of device memory that the weights take."""

    @abstractmethod
    def write(self, prompts: Sequence[Prompt], done: Done) -> list[Written | RowFailure]:
        """Answer every prompt, in the prompts' order; the engine batches them itself.

        Sampling draws from a generator of each prompt's own, seeded by ``decoding.seed`` and the prompt, so
        that neighbours change nothing. A prompt that fails alone, or does not fit into memory alone, becomes a
        :class:`RowFailure`.

        Raises:
            TextmillError: the fault lies with the job and not with a prompt.
            Exception: the device is lost, or ``done`` raised.
        """

    @property
    def network(self) -> Any:
        """The transformers model whose layers compute, for adapters; None where there is none."""
        return None

    def check(self, decoding: Decoding) -> None:  # noqa: B027  (most engines can do everything)
        """Whether the engine can do all of this.

        Raises:
            JobFailure: ``invalid_params``, it cannot.
        """


def alike(prompts: Sequence[Prompt]) -> dict[tuple[Decoding, tuple[int, ...]], list[int]]:
    """Positions of prompts that differ in their text only, by decoding and by the answer's beginning."""
    groups: dict[tuple[Decoding, tuple[int, ...]], list[int]] = defaultdict(list)
    for position, prompt in enumerate(prompts):
        groups[prompt.decoding, prompt.forced].append(position)
    return groups
