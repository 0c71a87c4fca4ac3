"""The arithmetic of how much one Redis carries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.scale.memory import Memory
from bench.scale.meter import slope
from bench.scale.model import (
    Costs,
    Load,
    busy,
    memory_bytes,
    most_devices,
    rows_a_day,
    store_requests,
)
from bench.scale.night import jain, make_night, spread_of

COSTS = Costs(
    calls={
        "add": 10,
        "choose": 20,
        "claim": 30,
        "commit": 35,
        "record_speed": 5,
        "heartbeat": 50,
        "announce": 15,
        "invite": 100,
        "sweep, of 100": 40,
        "job read": 60,
    },
    live_us=200,
    live_worker_us=2,
)
LOAD = Load(
    devices=100,
    shard_seconds=10,
    beats_per_second=2,
    presence_seconds=3,
    active_jobs=500,
    sweep_seconds=2,
    planners=1,
    pollers=40,
    poll_seconds=4,
    waiters=3,
    waiter_seconds=5,
)


def test_each_part_of_a_load_takes_its_share() -> None:
    found = busy(COSTS, LOAD)

    assert found.shards == pytest.approx(100 / 10 * 100e-6)
    assert found.heartbeats == pytest.approx(100 * 2 * 50e-6)
    assert found.presence == pytest.approx(100 / 3 * 15e-6)
    assert found.looking_for_workers == pytest.approx((1 / 2 + 5) * (200 + 2 * 100 + 100) * 1e-6)
    assert found.sweeping == pytest.approx(500 / 2 * 40e-6)
    assert found.polling == pytest.approx((40 / 4 + 3 / 5) * 60e-6)
    assert found.total == pytest.approx(
        found.shards
        + found.heartbeats
        + found.presence
        + found.looking_for_workers
        + found.sweeping
        + found.polling
    )


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_one_device_more_than_the_most_is_too_many(share: float) -> None:
    most = most_devices(COSTS, LOAD, share)

    assert most > 0
    assert busy(COSTS, replace(LOAD, devices=most)).total <= share
    assert busy(COSTS, replace(LOAD, devices=most + 1)).total > share


def test_where_sweeping_alone_is_too_much_no_device_fits() -> None:
    assert most_devices(COSTS, replace(LOAD, active_jobs=100_000), 0.6) == 0


def test_memory_goes_by_shards_at_their_dearest_and_by_jobs_that_ended() -> None:
    memory = Memory(
        pending_range=150, leased_range=400, done_range=200, small_job=1000, ended_job=900
    )
    assert memory_bytes(memory, rows=1_001, shard_rows=100, ended_jobs=3) == 11 * 400 + 3 * 900


def test_rows_and_requests() -> None:
    assert rows_a_day(200, 50) == 864_000_000
    assert store_requests(200, 10) == 80


def test_a_line_through_its_own_points_is_found() -> None:
    assert list(slope([(1, 5), (3, 9), (10, 23)])) == pytest.approx([3, 2])


def test_fairness_is_one_for_equals_and_a_share_where_one_has_it_all() -> None:
    assert jain([7, 7, 7, 7]) == pytest.approx(1)
    assert jain([5, 0, 0, 0]) == pytest.approx(0.25)
    assert jain([1, 2, 3]) == pytest.approx(36 / 42)


def test_spread_of_few_values() -> None:
    assert spread_of([]) == (0, 0, 0)
    assert spread_of([2.0]) == (2, 2, 2)
    assert spread_of([1.0, 2.0, 9.0])[::2] == (2, 9)


def test_a_night_has_all_its_rows_and_is_the_same_again() -> None:
    night = make_night(100_000, devices=10, rows_per_second=5, deaths_per_hour=0)

    assert sum(job.rows for job in night.jobs) == 100_000
    assert [job.rows for job in night.jobs if job.big] == [9_900, 19_800, 29_700, 39_600]
    assert len({job.name for job in night.jobs}) == len(night.jobs)
    assert night == make_night(100_000, devices=10, rows_per_second=5, deaths_per_hour=0)
