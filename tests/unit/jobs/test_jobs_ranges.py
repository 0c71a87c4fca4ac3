"""Row ranges and how they tile an input."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ranges import RowRange, TilingError, check_tiling

bounds = st.lists(st.integers(0, 10**12 - 1), min_size=2, max_size=20, unique=True).map(sorted)
ranges = st.lists(st.integers(0, 10**12 - 1), min_size=2, max_size=2, unique=True).map(
    lambda pair: RowRange(min(pair), max(pair))
)


def tiles(cuts: list[int]) -> list[RowRange]:
    return [RowRange(start, stop) for start, stop in pairwise(cuts)]


@given(ranges)
def test_names_come_back(rows: RowRange) -> None:
    assert RowRange.parse(str(rows)) == rows
    assert len(str(rows)) == 25
    assert len(rows) == rows.stop - rows.start


@given(ranges, ranges)
def test_names_sort_as_ranges_do(one: RowRange, other: RowRange) -> None:
    assert (str(one) < str(other)) == (one < other)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0-1",
        "000000000000-000000000000",
        "000000000002-000000000001",
        "000000000000-000000000001\n",
        "000000000000-000000000001.x",
        "-00000000001-000000000001",
        "00000000000\u0660-000000000001",
        "../0000000000-000000000001",
    ],
)
def test_what_names_no_range(name: str) -> None:
    with pytest.raises(ValueError, match="not a row range"):
        RowRange.parse(name)


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (1, 1), (2, 1), (0, 10**12)])
def test_what_is_no_range(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not a row range"):
        RowRange(start, stop)


@given(bounds.filter(lambda cuts: len(cuts) > 2))
def test_a_cut_gives_two_that_follow_one_another(cuts: list[int]) -> None:
    first, *_, last = cuts
    before, after = RowRange(first, last).cut(cuts[1])
    assert list(check_tiling([before, after], last, first)) == [before, after]


@pytest.mark.parametrize("at", [0, 10, -1, 11])
def test_a_cut_lies_strictly_inside(at: int) -> None:
    with pytest.raises(ValueError, match="not a row range"):
        RowRange(0, 10).cut(at)


@given(bounds)
def test_ranges_that_tile_pass_through(cuts: list[int]) -> None:
    assert list(check_tiling(iter(tiles(cuts)), cuts[-1], cuts[0])) == tiles(cuts)


@given(bounds.filter(lambda cuts: len(cuts) > 2), st.data())
def test_a_missing_range_is_seen(cuts: list[int], data: st.DataObject) -> None:
    left = tiles(cuts)
    del left[data.draw(st.integers(0, len(left) - 1))]
    with pytest.raises(TilingError):
        list(check_tiling(left, cuts[-1], cuts[0]))


@given(bounds, st.data())
def test_a_repeated_range_is_seen(cuts: list[int], data: st.DataObject) -> None:
    twice = tiles(cuts)
    at = data.draw(st.integers(0, len(twice) - 1))
    twice.insert(at, twice[at])
    with pytest.raises(TilingError):
        list(check_tiling(twice, cuts[-1], cuts[0]))


@given(bounds.filter(lambda cuts: len(cuts) > 2))
def test_another_order_is_seen(cuts: list[int]) -> None:
    with pytest.raises(TilingError):
        list(check_tiling(reversed(tiles(cuts)), cuts[-1], cuts[0]))


@pytest.mark.parametrize("total", [9, 11])
def test_another_total_is_seen(total: int) -> None:
    with pytest.raises(TilingError, match=f"the job has {total} rows"):
        list(check_tiling([RowRange(0, 10)], total))


def test_nothing_tiles_nothing() -> None:
    assert list(check_tiling([], 0)) == []
    with pytest.raises(TilingError):
        list(check_tiling([], 1))


def test_ranges_before_a_gap_have_passed_through_when_it_is_found() -> None:
    passing = check_tiling([RowRange(0, 5), RowRange(6, 9)], 9)
    assert next(passing) == RowRange(0, 5)
    with pytest.raises(TilingError, match="starts at row 5, found 000000000006-000000000009"):
        next(passing)
