"""The size of shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.plan import (
    DEFAULT_SHARD_BYTES,
    GROWN_SHARD_BYTES,
    MIN_SHARD_BYTES,
    CutRule,
    Plan,
    ShardLimits,
    Source,
    cut_rule,
)

MIB = 1 << 20


def limits(
    *, rows: int = 50_000, size: int = 64 * MIB, seconds: float = 10.0, workers: int = 1
) -> ShardLimits:
    return ShardLimits(max_rows=rows, max_bytes=size, seconds=seconds, workers=workers)


@pytest.mark.parametrize(
    ("given_limits", "rows", "size", "speed", "expected"),
    [
        pytest.param(limits(), None, None, None, (50_000, GROWN_SHARD_BYTES), id="nothing known"),
        pytest.param(limits(), None, None, 1e5, (50_000, 1_000_000), id="ten seconds of work"),
        pytest.param(limits(seconds=2), None, None, 1e5, (50_000, 200_000), id="two seconds"),
        pytest.param(limits(), None, None, 1e9, (50_000, 64 * MIB), id="at most the limit"),
        pytest.param(limits(), None, None, 1.0, (50_000, MIN_SHARD_BYTES), id="at least a little"),
        pytest.param(limits(), None, 100 * MIB, 1e5, (50_000, 1_000_000), id="a big input"),
        pytest.param(limits(), None, 100_000, 1e5, (50_000, 50_000), id="two for one worker"),
        pytest.param(limits(workers=4), None, 100_001, 1e5, (50_000, 12_501), id="two for each"),
        pytest.param(limits(workers=4), 1000, None, None, (125, GROWN_SHARD_BYTES), id="rows"),
        pytest.param(limits(workers=4), 3, None, None, (1, GROWN_SHARD_BYTES), id="few rows"),
        pytest.param(limits(workers=0), 10, None, None, (5, GROWN_SHARD_BYTES), id="no worker"),
        pytest.param(limits(rows=7), 1000, None, None, (7, GROWN_SHARD_BYTES), id="most rows"),
        pytest.param(limits(size=1024), None, None, None, (50_000, 1024), id="a small limit"),
    ],
)
def test_sizes(
    given_limits: ShardLimits,
    rows: int | None,
    size: int | None,
    speed: float | None,
    expected: tuple[int, int],
) -> None:
    rule = cut_rule(given_limits, total_rows=rows, total_bytes=size, bytes_per_second=speed)
    assert (rule.max_rows, rule.max_bytes) == expected


def test_shards_grow_while_no_speed_is_known() -> None:
    rule = cut_rule(limits(), total_rows=None, total_bytes=100 * MIB, bytes_per_second=None)
    sizes = [rule.bytes_of(number) for number in range(100)]
    assert sizes[:8] == [DEFAULT_SHARD_BYTES] * 8
    assert sizes[8:16] == [DEFAULT_SHARD_BYTES * 2] * 8
    assert sizes == sorted(sizes)
    assert sizes[-1] == rule.bytes_of(10**9) == GROWN_SHARD_BYTES


def test_shards_of_a_known_speed_grow_at_once() -> None:
    """Small first ones let work begin while the next are being cut."""
    rule = cut_rule(limits(), total_rows=None, total_bytes=100 * MIB, bytes_per_second=1e5)
    sizes = [rule.bytes_of(number) for number in range(10)]
    assert sizes == [min(DEFAULT_SHARD_BYTES << number, 1_000_000) for number in range(10)]


def test_shards_of_one_size() -> None:
    rule = CutRule(max_rows=1, max_bytes=2)
    assert {rule.bytes_of(number) for number in range(100)} == {2}


@given(
    workers=st.integers(0, 1000),
    rows=st.none() | st.integers(0, 10**9),
    size=st.none() | st.integers(0, 10**12),
    speed=st.none() | st.floats(0.001, 1e12),
)
def test_never_beyond_the_limits(
    workers: int, rows: int | None, size: int | None, speed: float | None
) -> None:
    rule = cut_rule(
        limits(workers=workers), total_rows=rows, total_bytes=size, bytes_per_second=speed
    )
    assert 1 <= rule.max_rows <= 50_000
    assert MIN_SHARD_BYTES <= rule.max_bytes <= 64 * MIB


def test_a_plan_comes_back() -> None:
    source = Source(bucket="b", key="k", name="a.jsonl", etag="e", size=1, format="jsonl")
    plan = Plan(sources=[source], cut=CutRule(max_rows=1, max_bytes=2))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
