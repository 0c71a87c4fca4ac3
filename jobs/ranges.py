"""Row ranges: the unit that workers lease, commit and give back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: Digits of a row index in a range's name; names then sort as numbers do.
DIGITS = 12

_NAME = re.compile(rf"([0-9]{{{DIGITS}}})-([0-9]{{{DIGITS}}})")


@dataclass(frozen=True, order=True)
class RowRange:
    """Rows ``start`` (included) to ``stop`` (excluded) of a job's input, numbered from 0."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop < 10**DIGITS:
            raise ValueError(f"not a row range: {self.start}-{self.stop}")

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.start:0{DIGITS}d}-{self.stop:0{DIGITS}d}"

    def cut(self, at: int) -> tuple[RowRange, RowRange]:
        """The rows before and from ``at``.

        Raises:
            ValueError: ``at`` is not strictly inside the range.
        """
        return RowRange(self.start, at), RowRange(at, self.stop)

    @classmethod
    def parse(cls, name: str) -> RowRange:
        """The range with this name.

        Raises:
            ValueError: it is not the name of a range.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"not a row range: {name!r}")
        return cls(int(match[1]), int(match[2]))


class TilingError(ValueError):
    """Ranges that should follow one another leave a gap or overlap."""


def check_tiling(ranges: Iterable[RowRange], total: int, start: int = 0) -> Iterator[RowRange]:
    """Pass ranges through while checking that, in this order, they cover exactly ``[start, total)``.

    Raises:
        TilingError: at the first gap or overlap, or at the end when rows are missing.
    """
    expected = start
    for item in ranges:
        if item.start != expected:
            raise TilingError(f"expected a range that starts at row {expected}, found {item}")
        expected = item.stop
        yield item
    if expected != total:
        raise TilingError(f"the ranges end at row {expected}, the job has {total} rows")
