"""A night in simulated time: what arrives, who computes, and what came of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from jobs.states import Priority


@dataclass(frozen=True, kw_only=True)
class NightJob:
    """A job of the night."""

    name: str
    tenant: str
    rows: int
    arrives: int  #: ms after the night's beginning
    priority: Priority = Priority.NORMAL
    big: bool = False  #: keeps all devices busy for long; fairness is judged among these


@dataclass(frozen=True, kw_only=True)
class Night:
    """What is simulated."""

    jobs: Sequence[NightJob]
    devices: int = 200
    rows_per_second: float = 50.0  #: of a device, on average
    spread: float = 0.3  #: devices differ by up to this share
    shard_seconds: float = 10.0
    least_rows: int = 1  #: of a shard, however many devices there are
    window_rows: int = 64  #: computed at a time
    planned_per_second: int = 30_000  #: rows that one planner cuts; each job has a planner at once
    deaths_per_hour: float = 2.0  #: of a device while it computes
    away_seconds: float = 30.0  #: until a dead device is back
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a night. All jobs have completed and each row was committed exactly once, or there is no outcome."""

    rows: int
    jobs: int
    seconds: float  #: simulated, until the last commit
    ideal_seconds: float  #: with all devices alive and busy from the first moment on
    deaths: int
    rows_again: int  #: computed, and lost with the device
    yields: int  #: ranges of which a part was given back for a waiting job's sake
    commits: int
    calls: int  #: of the ledger
    fairness: float  #: Jain's index of the rows served to tenants with big jobs, while all of them had rows waiting
    small_first_seconds: tuple[
        float, float, float
    ]  #: arrival to first claim: median, 95th percentile, most
    small_end_seconds: tuple[float, float, float]  #: arrival to end

    @property
    def efficiency(self) -> float:
        return self.ideal_seconds / self.seconds


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all shares are equal, 1/n when one has it all.

    R. Jain, D. Chiu, W. Hawe: A Quantitative Measure of Fairness, DEC-TR-301, 1984.
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def spread_of(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th percentile and most; zeros when there is nothing."""
    if len(values) < 2:
        only = values[0] if values else 0.0
        return only, only, only
    return median(values), quantiles(values, n=20)[-1], max(values)


def make_night(
    rows: int,
    *,
    devices: int,
    rows_per_second: float,
    deaths_per_hour: float,
    least_rows: int = 1,
    seed: int = 1,
) -> Night:
    """Four tenants with big jobs of 1 to 4 tenths of the rows, and small jobs of four others all the time long.

    Small jobs hold 1 % of the rows together; they come at random over the time that the big ones take at best.
    """
    draw = random.Random(seed)  # noqa: S311  (a simulation, not secrets)
    small = 200
    small_rows = max(1, rows // 100 // small)
    left = rows - small * small_rows
    sizes = [left // 10, left * 2 // 10, left * 3 // 10]
    sizes.append(left - sum(sizes))
    span_ms = round(rows / (devices * rows_per_second) * 1000)
    jobs = [
        NightJob(name=f"big-{number}", tenant=f"t{number}", rows=size, arrives=0, big=True)
        for number, size in enumerate(sizes)
    ] + [
        NightJob(
            name=f"small-{number}",
            tenant=f"u{number % 4}",
            rows=small_rows,
            arrives=draw.randrange(span_ms),
        )
        for number in range(small)
    ]
    return Night(
        jobs=jobs,
        devices=devices,
        rows_per_second=rows_per_second,
        deaths_per_hour=deaths_per_hour,
        least_rows=least_rows,
        seed=seed,
    )
