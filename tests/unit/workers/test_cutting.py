"""Shards of carried rows: many rows, bounded bytes, and the same whoever cuts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.plan import CutRule
from jobs.rows import CARRIED_BYTES, Marks, Row, encode_carried_row, encode_shard_row, work_bytes
from workers.cutting import cut

MARKS = Marks(b"d" * 16, b"n" * 16)
RULE = CutRule(max_rows=50, max_bytes=2_000, most_bytes=6_000)


def line(index: int, size: int, *, carried: bool) -> bytes:
    if carried:
        made = b'{"output":{"text":"%s"},"usage":{}}' % (b"x" * size)
        return encode_carried_row(Row(index, "x"), made, MARKS, ())
    return encode_shard_row(Row(index, "x" * size), MARKS)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3_000)), max_size=200))
def test_bounds_hold_and_nothing_is_lost(wanted: list[tuple[bool, int]]) -> None:
    lines = [line(n, size, carried=carried) for n, (carried, size) in enumerate(wanted)]
    found = [(rows, bytes(block)) for rows, block in cut(lines, RULE)]
    assert b"".join(block for _, block in found) == b"".join(lines)
    at = 0
    for number, (rows, block) in enumerate(found):
        held = block.splitlines(keepends=True)
        assert (rows.start, rows.stop) == (at, at + len(held))
        at = rows.stop
        if len(held) > 1:
            assert len(block) <= 6_000
            assert sum(map(work_bytes, held)) <= 2_000
        assert len(held) <= 50
        if number + 1 < len(found):
            following = found[number + 1][1].splitlines(keepends=True)[0]
            work = sum(map(work_bytes, held)) + work_bytes(following)
            assert len(held) == 50 or work > 2_000 or len(block) + len(following) > 6_000


def test_rows_that_only_travel_count_little() -> None:
    lines = [line(n, 60, carried=True) for n in range(10, 50)]
    room = 6_000 // len(lines[0])
    assert 40 * CARRIED_BYTES < 2_000 < room * len(lines[0])
    assert [len(rows) for rows, _ in cut(lines, RULE)] == [room, 40 - room]
