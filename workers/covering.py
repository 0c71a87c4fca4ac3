"""How committed parts cover what was planned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.ranges import RowRange, TilingError, check_tiling
from storage.ledger import CommittedPart


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Rows without a part, all in the shard of one planned range."""

    rows: RowRange
    planned: RowRange


def contiguous(parts: Iterable[CommittedPart], start: int) -> Iterator[CommittedPart]:
    """The parts from row ``start`` on, up to the first gap."""
    for part in parts:
        if part.rows.start != start:
            return
        yield part
        start = part.rows.stop


def tiled(parts: Iterable[CommittedPart], start: int, total: int) -> Iterator[CommittedPart]:
    """Pass parts through while checking that they cover ``[start, total)``.

    Raises:
        TilingError: they do not; nothing may be written then, for a result with a gap would look whole.
    """
    held: list[CommittedPart] = []

    def ranges() -> Iterator[RowRange]:
        for part in parts:
            held.append(part)
            yield part.rows

    for _ in check_tiling(ranges(), total, start):
        yield held.pop()


def filled(
    parts: Iterable[CommittedPart], planned: Iterable[RowRange], start: int
) -> Iterator[CommittedPart | Gap]:
    """Parts, and between them the rows that have none, in order.

    Args:
        parts: from ``start`` on, in order.
        planned: all planned ranges, in order.
        start: first row wanted.

    Raises:
        TilingError: the parts overlap, or reach beyond what was planned.
    """
    rest = iter(parts)
    part = next(rest, None)
    reached = start
    for shard in planned:
        while reached < shard.stop:
            if part is not None and part.rows.start == reached:
                yield part
                reached = part.rows.stop
                part = next(rest, None)
                continue
            stop = shard.stop if part is None else min(shard.stop, part.rows.start)
            if stop <= reached:
                raise TilingError(f"expected a part from row {reached} on, found {part}")
            yield Gap(rows=RowRange(reached, stop), planned=shard)
            reached = stop
    if part is not None:
        raise TilingError(f"a part lies beyond what was planned: {part.rows}")
