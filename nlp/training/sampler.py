"""Which rows make which batch: rows of like length together, in an order that seed and epoch alone decide.

Trainers that group by length while they draw cannot be stopped and gone on with exactly; here a batch is known by its
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

#: Batches' worth of rows that are sorted by length together: the more, the less padding, and the less chance.
_SORTED_BATCHES = 50


@dataclass(frozen=True)
class Batches(Sequence[Numbers]):
    """An epoch: each batch is an array of row numbers."""

    order: Numbers  #: all rows, batch after batch
    bounds: Numbers  #: where batches begin, and the end
    turns: Numbers  #: which of these batches comes when

    def __len__(self) -> int:
        return len(self.turns)

    @overload
    def __getitem__(self, place: int) -> Numbers: ...
    @overload
    def __getitem__(self, place: slice) -> list[Numbers]: ...
    def __getitem__(self, place: int | slice) -> Numbers | list[Numbers]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        number = int(self.turns[place])
        return self.order[self.bounds[number] : self.bounds[number + 1]]


def batches(
    lengths: npt.NDArray[np.int32], *, rows: int, tokens: int, seed: int, epoch: int
) -> Batches:
    """The batches of an epoch.

    Args:
        lengths: of the rows, in tokens; at least one row.
        rows: most rows of a batch.
        tokens: most tokens of a batch, padding included; a row alone may have more.
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = random.permutation(len(lengths)).astype(np.int64)
    size = rows * _SORTED_BATCHES
    for start in range(0, len(order), size):
        some = order[start : start + size]
        some[:] = some[np.argsort(lengths[some], kind="stable")]
    bounds = _bounds(lengths[order], rows, tokens, size)
    turns = random.permutation(len(bounds) - 1).astype(np.int64)
    return Batches(order, bounds, turns)


def _bounds(lengths: npt.NDArray[np.int32], rows: int, tokens: int, size: int) -> Numbers:
    bounds = [0]
    longest = 0
    for place, length in enumerate(lengths.tolist()):
        count = place - bounds[-1]
        longest = max(longest, length)
        full = count == rows or longest * (count + 1) > tokens or place % size == 0
        if count and full:
            bounds.append(place)
            longest = length
    return np.array([*bounds, len(lengths)], np.int64)
