"""Rows of tokens laid end to end, without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Protocol

import torch
from torch import Tensor


class Sequenced(Protocol):
    """Tokens of one row, special tokens included."""

    @property
    def ids(self) -> Sequence[int]: ...

    @property
    def type_ids(self) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of one length that stand side by side."""

    token: int  #: where its first token is
    row: int  #: which row is its first
    rows: int
    length: int

    @property
    def tokens(self) -> slice:
        """Its tokens, to be seen as ``[rows, length]``."""
        return slice(self.token, self.token + self.rows * self.length)

    @property
    def places(self) -> slice:
        """Its rows among all."""
        return slice(self.row, self.row + self.rows)


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch of rows."""

    ids: Tensor  #: ``[tokens]``
    positions: Tensor  #: ``[tokens]``
    types: Tensor | None  #: ``[tokens]``; None when all are of the first type
    starts: Tensor  #: ``[rows + 1]``, int32: where each row begins, and where the last one ends
    runs: tuple[Run, ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(run.length for run in self.runs)


def pack(
    batch: Sequence[Sequenced],
    device: torch.device,
    *,
    types: bool = False,
    first_position: int = 0,
    pad: tuple[int, int] | None = None,
) -> Packed:
    """Lay rows end to end, in their order. Rows of one length are computed together where they are neighbours.

    Args:
        types: whether types of tokens count; else all are of the first one.
        first_position: position of a row's first token.
        pad: id of the padding token, and the position that it has wherever it stands inside a text; it is
            then not counted. None where it is a token like any other.
    """
    lengths = [len(row.ids) for row in batch]
    ids = torch.tensor(list(chain.from_iterable(row.ids for row in batch)))
    counts = torch.tensor(lengths)
    starts = torch.zeros(len(batch) + 1, dtype=torch.int32)
    starts[1:] = counts.cumsum(0)
    positions = torch.arange(len(ids)) - starts[:-1].repeat_interleave(counts) + first_position
    if pad is not None and bool((ids == pad[0]).any()):
        positions = torch.cat([_positions(row.ids, first_position, pad) for row in batch])
    of_type = None
    if types and any(1 in row.type_ids for row in batch):
        of_type = torch.tensor(list(chain.from_iterable(row.type_ids for row in batch))).to(device)
    return Packed(
        ids.to(device), positions.to(device), of_type, starts.to(device), tuple(_runs(lengths))
    )


def _positions(ids: Sequence[int], first_position: int, pad: tuple[int, int]) -> Tensor:
    counted = torch.tensor(ids) != pad[0]
    positions = counted.cumsum(0) + first_position - 1
    return positions.where(counted, torch.tensor(pad[1]))


def _runs(lengths: Sequence[int]) -> Iterator[Run]:
    token = row = 0
    for length, same in groupby(lengths):
        rows = len(list(same))
        yield Run(token, row, rows, length)
        token += rows * length
        row += rows
