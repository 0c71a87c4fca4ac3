"""One cohort on its way: slots are filled, go on token by token, fall free and are filled again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from torch import Tensor

from jobs.rows import RowFailure
from nlp.generation.cohorts import Cohort, common_start
from nlp.generation.decoding import Prompt, Written
from nlp.generation.network import SlotNetwork
from nlp.generation.slots import SlotCache
from nlp.generation.writer import Chooser, Writer

#: Common beginnings that are shorter than this are not worth a call of the model.
_LEAST_SHARED = 8
_NOT_FINITE = RowFailure("non_finite", "The model's scores for this row are not finite.")

#: Positions of prompts that have just been finished, each with its answer.
Finished = list[tuple[int, Written | RowFailure]]


class Rollout:
    """The sequences of a cohort and their cache.

    Args:
        prefill_tokens: tokens of prompts that are read in one call.
    """

    def __init__(
        self,
        network: SlotNetwork,
        chooser: Chooser,
        cohort: Cohort,
        prompts: Sequence[Prompt],
        prefill_tokens: int,
    ) -> None:
        self._network = network
        self._chooser = chooser
        self._prompts = prompts
        self._prefill_tokens = prefill_tokens
        self._waiting = deque(cohort.positions)
        self._slots: list[Writer | None] = []  # by slot; only the first ones are in use
        self._cache = SlotCache(cohort.slots, cohort.capacity)
        self._shared = 0  # tokens that all prompts begin with, held by every slot

    def steps(self) -> Iterator[Finished]:
        """Compute, and after each call of the model tell what is finished."""
        self._share()
        while True:
            while self._waiting and (free := self._free()):
                yield self._fill(free)
            self._compact()
            if not self._slots:
                return
            yield self._go_on()

    def _share(self) -> None:
        """Read what all prompts begin with, once for all."""
        sequences = [self._prompts[position].ids for position in self._waiting]
        length = common_start(sequences)
        if len(sequences) < 2 or length < _LEAST_SHARED:
            return
        self._network.prefill(self._cache, [sequences[0][:length]], [0], 0)
        self._cache.share(length)
        self._shared = length

    def _free(self) -> list[int]:
        holes = [slot for slot, writer in enumerate(self._slots) if writer is None]
        return [*holes, *range(len(self._slots), self._cache.slots)]

    def _fill(self, free: Sequence[int]) -> Finished:
        """Read as many waiting prompts as there are free slots and tokens in a call."""
        group: list[Writer] = []
        tokens = 0
        while self._waiting and len(group) < len(free):
            prompt = self._prompts[self._waiting[0]]
            tokens += len(prompt) - self._shared
            if group and tokens > self._prefill_tokens:
                break
            group.append(Writer(self._waiting.popleft(), prompt))
        slots = free[: len(group)]
        sequences = [writer.prompt.ids[self._shared :] for writer in group]
        logits = self._network.prefill(self._cache, sequences, slots, self._shared)
        self._slots += [None] * (max(slots) + 1 - len(self._slots))
        for slot, writer in zip(slots, group, strict=True):
            self._slots[slot] = writer
        return self._take(logits, slots)

    def _go_on(self) -> Finished:
        """One token more for every sequence; no slot among those in use is free."""
        writers = [writer for writer in self._slots if writer is not None]
        logits = self._network.decode(
            self._cache,
            [writer.ids[-1] for writer in writers],
            [writer.length - 1 for writer in writers],
        )
        return self._take(logits, range(len(writers)))

    def _take(self, logits: Tensor, slots: Sequence[int]) -> Finished:
        """Choose the next tokens of the sequences in these slots; those that end leave theirs."""
        writers = [writer for slot in slots if (writer := self._slots[slot]) is not None]
        finished: Finished = []
        chosen = self._chooser.choose(logits, writers)
        for slot, writer, token in zip(slots, writers, chosen, strict=True):
            if token is None:
                # What is no number would spoil the slot's next sequence, whatever weight it has there.
                self._cache.clear(slot, self._shared)
                made: Written | RowFailure | None = _NOT_FINITE
            else:
                made = writer.take(token, self._chooser.ends)
            if made is not None:
                finished.append((writer.position, made))
                self._slots[slot] = None
        return finished

    def _compact(self) -> None:
        """Move sequences from the last slots into free ones, so that the first slots are all in use."""
        for hole in [slot for slot, writer in enumerate(self._slots) if writer is None]:
            while self._slots and self._slots[-1] is None:
                self._slots.pop()
            if hole >= len(self._slots):
                return
            writer = self._slots.pop()
            if writer is not None:
                self._cache.move(len(self._slots), hole, writer.length - 1)
                self._slots[hole] = writer
