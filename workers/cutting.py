"""Rows cut into pieces that are an object each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.plan import CutRule
from jobs.ranges import RowRange


def cut(lines: Iterable[bytes], rule: CutRule) -> Iterator[tuple[RowRange, bytearray]]:
    """Cut the lines of rows 0, 1, 2, … into shards: a pure function of the lines and the rule.

    The lines of a shard come joined, in a buffer that the next step empties: a list of them would cost several times
    their size.
    """
    start = stop = 0
    held = bytearray()
    number = 0
    max_rows, max_bytes = rule.max_rows, rule.bytes_of(number)
    for line in lines:
        if held and (stop - start >= max_rows or len(held) + len(line) > max_bytes):
            yield RowRange(start, stop), held
            start = stop
            held.clear()
            number += 1
            max_bytes = rule.bytes_of(number)
        held += line
        stop += 1
    if held:
        yield RowRange(start, stop), held
