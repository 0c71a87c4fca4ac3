"""Rows cut into pieces that are an object each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jobs.plan import CutRule
from jobs.ranges import RowRange
from jobs.rows import work_bytes


def cut(lines: Iterable[bytes], rule: CutRule) -> Iterator[tuple[RowRange, bytearray]]:
    """Cut the lines of rows 0, 1, 2, … into shards: a pure function of the lines and the rule.

    The lines of a shard come joined, in a buffer that the next step empties: a list of them would cost several times
    their size.
    """
    start = stop = 0
    held = bytearray()
    work = 0
    number = 0
    max_rows, max_bytes = rule.max_rows, rule.bytes_of(number)
    most_bytes = rule.most_bytes or max_bytes
    for line in lines:
        size = work_bytes(line)
        full = work + size > max_bytes or len(held) + len(line) > most_bytes
        if held and (full or stop - start >= max_rows):
            yield RowRange(start, stop), held
            start = stop
            held.clear()
            work = 0
            number += 1
            max_bytes = rule.bytes_of(number)
        held += line
        work += size
        stop += 1
    if held:
        yield RowRange(start, stop), held
