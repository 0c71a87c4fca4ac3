"""Rows of a training's data, read when they are asked for: memory holds where each line begins, and no more."""

from __future__ import annotations

import mmap
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from jobs.rows import BadRow, Row, RowFailure, decode_shard_row
from nlp.training.task import no_tick

Places = npt.NDArray[np.int64]

#: Bad rows that are told of one by one.
_FIRST_BAD = 5
#: Rows between two looks at whether to stop.
TICK_ROWS = 256


@dataclass
class BadRows:
    """Rows that cannot be trained on."""

    codes: Counter[str] = field(default_factory=Counter)
    first: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Row | BadRow, failure: RowFailure) -> None:
        """Count one, and remember where it was if it is among the first."""
        self.codes[failure.code] += 1
        if len(self.first) < _FIRST_BAD:
            self.first.append(
                {
                    "index": row.index,
                    "source": row.source,
                    "line": row.line,
                    "code": failure.code,
                    "message": failure.message,
                }
            )


class RowFile:
    """A file of rows as :func:`jobs.rows.encode_shard_row` writes them, one a line.

    Args:
        check: why a row cannot be trained on, or None.
        tick: called now and then with the rows just read; raises to stop.
    """

    def __init__(
        self,
        path: Path,
        check: Callable[[Row], RowFailure | None],
        tick: Callable[[int], None] = no_tick,
    ) -> None:
        self.bad = BadRows()
        starts = array("q")
        with path.open("rb") as stream:
            # An empty file cannot be mapped, and holds no rows.
            empty = stream.seek(0, 2) == 0
            self._bytes = None if empty else mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        position = 0
        for number, line in enumerate(self._lines()):
            if number % TICK_ROWS == 0:
                tick(TICK_ROWS)
            row = decode_shard_row(line)
            failure = row.failure if isinstance(row, BadRow) else check(row)
            if failure is None:
                starts.append(position)
            else:
                self.bad.add(row, failure)
            position += len(line)
        self._starts = np.frombuffer(starts, dtype=np.int64) if starts else np.empty(0, np.int64)

    def __len__(self) -> int:
        """How many good rows there are."""
        return len(self._starts)

    def row(self, number: int) -> Row:
        """A good row, by its number among the good ones."""
        if self._bytes is None:
            raise IndexError(number)
        start = int(self._starts[number])
        end = self._bytes.find(b"\n", start)
        row = decode_shard_row(self._bytes[start : end if end >= 0 else None])
        if isinstance(row, BadRow):
            raise TypeError("the file was changed while it was read")
        return row

    def _lines(self) -> Iterator[bytes]:
        if self._bytes is not None:
            self._bytes.seek(0)
            yield from iter(self._bytes.readline, b"")


class Rows(Sequence[Row]):
    """Some of the good rows of some files, as a sequence. A slice is one too.

    Args:
        files: numbered as ``places`` counts them: all rows of the first, then those of the second, ...
        places: which rows, in order.
    """

    def __init__(self, files: Sequence[RowFile], places: Places) -> None:
        self._files = list(files)
        self._ends = np.cumsum([len(one) for one in self._files])
        self.places = places

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Rows: ...
    def __getitem__(self, place: int | slice) -> Row | Rows:
        if isinstance(place, slice):
            return Rows(self._files, self.places[place])
        number = int(self.places[place])
        which = int(np.searchsorted(self._ends, number, side="right"))
        before = int(self._ends[which - 1]) if which else 0
        return self._files[which].row(number - before)

    def __len__(self) -> int:
        return len(self.places)
