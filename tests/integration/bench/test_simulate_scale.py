"""The measurements and the simulation run, at a tiny size, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.scale.bends import Sizes, measure_bends
from bench.scale.calls import measure_calls
from bench.scale.memory import measure_memory
from bench.scale.model import SHARD_CALLS, Load, busy
from bench.scale.night import Night, NightJob
from bench.scale.planning import measure_planning
from bench.scale.server import scratch_server
from bench.scale.simulation import simulate
from bench.simulate_scale import known_costs
from storage.ledger.scripts import LedgerClient


@pytest.fixture(scope="module")
def client() -> Iterator[LedgerClient]:
    with scratch_server() as made:
        yield made


def test_a_night_with_deaths_commits_each_row_once_and_ends_each_job(client: LedgerClient) -> None:
    night = Night(
        jobs=[
            NightJob(name="big-a", tenant="a", rows=1_500, arrives=0, big=True),
            NightJob(name="big-b", tenant="b", rows=3_000, arrives=0, big=True),
            NightJob(name="small", tenant="c", rows=20, arrives=10_000),
        ],
        devices=8,
        rows_per_second=20,
        deaths_per_hour=120,
    )

    found = simulate(client, night, lambda _rows: None)

    # That all rows were committed once is checked by the simulation itself, which raises otherwise.
    assert found.rows == 4_520
    assert found.deaths > 0
    assert found.seconds > found.ideal_seconds > 0
    # Shares are counted in shards, and those of one of the two are twice as large: (1 + 2)² / (2 (1 + 4)) = 0.9, less
    # what deaths do to so few of them.
    assert found.fairness > 0.75
    assert found.small_first_seconds[2] < 10


def test_a_night_goes_the_same_way_again(client: LedgerClient) -> None:
    night = Night(
        jobs=[NightJob(name="only", tenant="a", rows=500, arrives=0, big=True)],
        devices=3,
        rows_per_second=10,
        deaths_per_hour=60,
    )
    assert simulate(client, night, lambda _rows: None) == simulate(
        client, night, lambda _rows: None
    )


def test_costs_are_measured_and_make_a_model(client: LedgerClient) -> None:
    calls = measure_calls(client, 10, lambda _name: None)
    sizes = Sizes(jobs=(2,), ranges=(20,), tenants=(1,), workers=(2, 30))
    points = list(measure_bends(client, sizes, 10, lambda _what: None))
    planned = measure_planning(1_000, lambda _what: None)
    memory = measure_memory(client, 100, 5, lambda _what: None)

    assert set(SHARD_CALLS) <= set(calls)
    assert all(cost.server_us >= cost.least_us > 0 for cost in calls.values())
    assert len({point.axis for point in points}) == 4
    assert planned > 0
    assert memory.leased_range > memory.pending_range > 0
    assert busy(known_costs(calls, points), Load(devices=10)).total > 0
