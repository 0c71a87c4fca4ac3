"""How busy one Redis is with so many devices, jobs and pollers: arithmetic over measured costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from bench.scale.memory import Memory

#: Calls of a shard's life, each once: planned, chosen, claimed, committed, and its speed noted.
SHARD_CALLS = ("add", "choose", "claim", "commit", "record_speed")

#: Requests that a shard costs the object store: put by the planner, read by a worker; its part the other way.
SHARD_PUTS, SHARD_GETS = 2, 2

_DAY_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Time of Redis's one thread, in µs."""

    calls: Mapping[str, float]  #: of one call, by name as in :mod:`bench.scale.calls`
    live_us: float  #: of asking who lives, when nobody does
    live_worker_us: float  #: the same, more for each worker


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one Redis is asked to carry."""

    devices: int
    shard_seconds: float = 10.0
    beats_per_second: float = (
        2.0  #: of a device: one each second, and one for each window taken in hand
    )
    presence_seconds: float = 3.75
    active_jobs: int = 100
    sweep_seconds: float = 1.0
    planners: int = 2  #: at work; each looks for idle workers five times a second
    pollers: int = 100
    poll_seconds: float = 2.0
    waiters: int = 0  #: requests that wait for a change
    waiter_seconds: float = 2.0  #: between looks of a waiter: at each change, and each 3 to 6 s


@dataclass(frozen=True, kw_only=True)
class Busy:
    """Shares of Redis's one thread, by what they are spent on."""

    shards: float
    heartbeats: float
    presence: float
    looking_for_workers: float
    sweeping: float
    polling: float

    @property
    def total(self) -> float:
        return float(sum(getattr(self, part.name) for part in fields(self)))


def busy(costs: Costs, load: Load) -> Busy:
    """How much of Redis's time a load takes; above 1 it cannot be carried."""
    call = costs.calls
    shard_us = sum(call[name] for name in SHARD_CALLS)
    looks = 1 / load.sweep_seconds + 5 * load.planners
    look_us = costs.live_us + costs.live_worker_us * load.devices + call["invite"]
    reads = load.pollers / load.poll_seconds + load.waiters / load.waiter_seconds
    return Busy(
        shards=load.devices / load.shard_seconds * shard_us / 1e6,
        heartbeats=load.devices * load.beats_per_second * call["heartbeat"] / 1e6,
        presence=load.devices / load.presence_seconds * call["announce"] / 1e6,
        looking_for_workers=looks * look_us / 1e6,
        sweeping=load.active_jobs / load.sweep_seconds * call["sweep, of 100"] / 1e6,
        polling=reads * call["job read"] / 1e6,
    )


def most_devices(costs: Costs, load: Load, share: float) -> int:
    """The most devices with which all of a load takes at most this share of Redis's time; 0 when none fit.

    Exact, for all costs are linear in the number of devices.
    """
    fixed = busy(costs, replace(load, devices=0)).total
    each = busy(costs, replace(load, devices=1)).total - fixed
    return max(0, int((share - fixed) / each))


def memory_bytes(memory: Memory, *, rows: int, shard_rows: int, ended_jobs: int) -> float:
    """Redis's memory when these rows are planned and none is finalized, at its worst; and for jobs that ended."""
    each = max(memory.pending_range, memory.leased_range, memory.done_range)
    return -(-rows // shard_rows) * each + ended_jobs * memory.ended_job


def rows_a_day(devices: int, rows_per_second: float) -> float:
    """Rows that devices compute in a day when they never wait."""
    return devices * rows_per_second * _DAY_SECONDS


def store_requests(devices: int, shard_seconds: float) -> float:
    """Requests a second to the object store that shards cost, over planning, computing and finalizing."""
    return devices / shard_seconds * (SHARD_PUTS + SHARD_GETS)
