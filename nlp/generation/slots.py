"""Keys and values of sequences that are being written: one slot for each, filled in place."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class SlotCache:
    """Preallocated keys and values: per layer ``[slots, heads, capacity, size]``.

    A layer's memory is taken when its first keys come, for only they tell its shape. It begins as zeros: what
    lies behind a sequence's end is weighed with zero, and zero times a number that is none would spoil the sum.
    """

    def __init__(self, slots: int, capacity: int) -> None:
        self.slots = slots
        self.capacity = capacity
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, number: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The storage of a layer that holds keys and values ``[heads, tokens, size]`` such as these."""
        if number not in self._layers:
            self._layers[number] = (self._storage(keys), self._storage(values))
        return self._layers[number]

    def _storage(self, like: Tensor) -> Tensor:
        heads, _, size = like.shape
        return like.new_zeros(self.slots, heads, self.capacity, size)

    def share(self, length: int) -> None:
        """Give every slot the first tokens of slot 0."""
        for storage in self._tensors():
            storage[1:, :, :length] = storage[:1, :, :length]

    def move(self, source: int, target: int, length: int) -> None:
        """Put a sequence of so many tokens into another slot."""
        for storage in self._tensors():
            storage[target, :, :length] = storage[source, :, :length]

    def clear(self, slot: int, start: int) -> None:
        """Forget what a slot holds from this position on."""
        for storage in self._tensors():
            storage[slot, :, start:] = 0

    def bytes_per_token(self) -> int:
        """What one position takes in all layers that were used."""
        return sum(storage[0, :, 0].numel() * storage.element_size() for storage in self._tensors())

    def _tensors(self) -> Sequence[Tensor]:
        return [storage for pair in self._layers.values() for storage in pair]
