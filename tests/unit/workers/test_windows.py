"""How a range with carried rows is taken in hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from jobs.ranges import RowRange
from jobs.rows import BadRow, CarriedRow, Row, RowFailure, ShardRow, Success
from workers.computing import Hand, windows
from workers.lease import Lease


class Told:
    """Stands in for a lease; notes what was taken in hand."""

    def __init__(self, rows: int) -> None:
        self.rows = RowRange(100, 100 + rows)
        self.hands: list[RowRange] = []

    def take_in_hand(self, rows: RowRange) -> None:
        self.hands.append(rows)


def rows(pattern: str) -> list[ShardRow]:
    """``c`` is carried, ``r`` to be computed, ``b`` bad."""
    made: list[ShardRow] = []
    for index, sort in enumerate(pattern):
        row = Row(index, str(index))
        bad = BadRow(index, RowFailure("x", "y"), "a", 1)
        sorts: dict[str, ShardRow] = {"c": CarriedRow(row, Success({})), "r": row, "b": bad}
        made.append(sorts[sort])
    return made


def cut(pattern: str, size: int, *, patient: bool) -> list[str]:
    """The windows of a pattern."""
    hand = Hand(cast(Lease, Told(len(pattern))), size, patient=patient)
    found = windows(iter(rows(pattern)), hand, ())
    return ["".join(_sort(row) for row in window) for window in found]


def _sort(row: Row | BadRow | bytes) -> str:
    return "c" if isinstance(row, bytes) else "r" if isinstance(row, Row) else "b"


@pytest.mark.parametrize(
    ("pattern", "patient", "expected"),
    [
        ("rrrrr", True, ["rr", "rr", "r"]),
        ("rbrbr", True, ["rb", "rb", "r"]),
        ("ccrccrccc", True, ["ccrccr", "ccc"]),
        ("ccrccrccc", False, ["cc", "rc", "cr", "cc", "c"]),
        ("c" * 130, True, ["c" * 64, "c" * 64, "cc"]),
    ],
)
def test_windows_hold_as_much_to_compute_as_the_kind_wants(
    pattern: str, patient: bool, expected: Sequence[str]
) -> None:
    assert cut(pattern, 2, patient=patient) == expected


def test_what_is_in_hand_covers_each_window() -> None:
    lease = Told(9)
    hand = Hand(cast(Lease, lease), 2, patient=False)
    hand.reach(0, 6)
    hand.reach(6, 9)
    assert lease.hands == [RowRange(100, 106), RowRange(106, 109)]


def test_windows_that_are_in_hand_already_are_not_told_again() -> None:
    lease = Told(100)
    hand = Hand(cast(Lease, lease), 2, patient=True)
    hand.reach(0, 2)
    hand.reach(2, 4)  # at once: two windows from here on
    hand.reach(4, 6)
    assert lease.hands == [RowRange(100, 102), RowRange(102, 106)]
