"""Which rows are trained on, which tell the best state, and which measure the result.

Rows that are alike stay together. Where a part is a fraction of the input, it depends on what the rows say and not on
their order, so that a row which was tested on stays so when the data grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Part = Literal["training", "validation", "test"]
PARTS: tuple[Part, ...] = ("training", "validation", "test")

#: The parts as numbers; the one with the higher number keeps rows that are alike to rows in files of both.
TRAINING, VALIDATION, TEST = range(3)
_LEFT_OUT = -1

#: A group of rows that are alike is validated or tested on if it is at most so much of that part.
_LARGEST = 0.1

Numbers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Fractions of the input. 0 for a part that is a file, or that is not wanted."""

    validation: float
    test: float
    most: tuple[int | None, int | None] = (None, None)  #: rows of validation and of test, at most


@dataclass(frozen=True)
class Split:
    """Rows by part."""

    parts: dict[Part, Numbers]
    left_out: int  #: rows not used because they are alike to rows of a file that is validated or tested on


def split(groups: Numbers, exact: Hashes, files: Numbers, shares: Shares, seed: int) -> Split:
    """Put each row into a part.

    Args:
        groups: for each row the number of the first row that it is alike to.
        exact: for each row a hash of what it says.
        files: for each row the part whose file it came from; the input is training's.
        seed: another one makes another choice.
    """
    home = np.full(len(groups), TRAINING, np.int64)  # by group
    np.maximum.at(home, groups, files)
    _share_out(home, groups, exact, shares, seed)
    parts = home[groups]
    # Where a part is a file, rows that came from elsewhere do not join it.
    for number in (VALIDATION, TEST):
        if bool((files == number).any()):
            parts[(parts == number) & (files != number)] = _LEFT_OUT
    return Split(
        {name: np.flatnonzero(parts == number) for number, name in enumerate(PARTS)},
        int((parts == _LEFT_OUT).sum()),
    )


def _share_out(home: Numbers, groups: Numbers, exact: Hashes, shares: Shares, seed: int) -> None:
    """Move groups of the input into validation and test, in the order of what they say."""
    numbers, sizes = np.unique(groups, return_counts=True)
    # A group is known by the least hash in it, so that the order of rows does not matter.
    least = np.full(len(groups), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, groups, exact)
    free = home[numbers] == TRAINING
    numbers, sizes = numbers[free], sizes[free]
    hashes = _scattered(least[numbers], seed)
    order = np.argsort(hashes, kind="stable")
    numbers, sizes, shuffled = numbers[order], sizes[order], hashes[order] / 2.0**64
    total = int(sizes.sum())
    start = 0.0
    for part, share, most in (
        (TEST, shares.test, shares.most[1]),
        (VALIDATION, shares.validation, shares.most[0]),
    ):
        if not share:
            continue
        wanted = share * total
        room = max(1.0, min(wanted, most or wanted))
        free = home[numbers] == TRAINING
        # One large group, such as a series with one boilerplate, would be most of what is measured: it is trained on.
        small = sizes <= max(1.0, _LARGEST * room)
        # By hash alone, so that a row's part does not depend on other rows; unless rows are few or groups uneven.
        inside = free & small & (shuffled >= start) & (shuffled < start + share)
        start += share
        found = int(sizes[inside].sum())
        by_hash = 0.5 * wanted <= found <= min(1.5 * wanted, most or np.inf)
        if not by_hash:
            inside = free & (sizes <= max(1.0, 0.5 * room))
            inside &= np.cumsum(sizes * inside) <= room
        home[numbers[inside]] = part


def _scattered(hashes: Hashes, seed: int) -> Hashes:
    """The hashes in another order for each seed; a bijection (Murmur3's finalizer)."""
    values = hashes ^ np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))
