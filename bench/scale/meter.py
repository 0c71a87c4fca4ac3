"""What calls cost the server, by its own account of its processor time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import cast

from storage.ledger.scripts import LedgerClient

#: Measurements of one thing, of which the median counts.
ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one call costs."""

    server_us: float  #: time of the server's main thread, reading and answering included, in µs; the median
    least_us: float  #: the same in the best round, which other users of the machine disturbed least
    per_second: float  #: calls that one client gets through, one after the other
    calls: int  #: that were measured


class Meter:
    """Measures calls on a server that nobody else uses meanwhile."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client

    def measure(self, call: Callable[[int], object], count: int) -> Cost:
        """The median cost over some rounds of a call, which is given the numbers from 0 up to ``count``.

        Args:
            call: one call of the ledger; the first few also load its script.
            count: how often it is called in all.
        """
        rounds = min(ROUNDS, count)
        micros, speeds = [], []
        for number in range(rounds):
            calls = range(count * number // rounds, count * (number + 1) // rounds)
            begun, cpu = time.perf_counter(), self._cpu_seconds()
            for one in calls:
                call(one)
            micros.append((self._cpu_seconds() - cpu) * 1e6 / len(calls))
            speeds.append(len(calls) / (time.perf_counter() - begun))
        return Cost(
            server_us=median(micros), least_us=min(micros), per_second=median(speeds), calls=count
        )

    def used_memory(self) -> int:
        """Bytes that the server's data take."""
        info = cast("dict[str, int]", self._client.redis.info("memory"))
        return int(info["used_memory"])

    def _cpu_seconds(self) -> float:
        cpu = cast("dict[str, float]", self._client.redis.info("cpu"))
        return cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"]


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least-squares line through points: its value at 0 and its rise for each unit."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    return mean_y - rise * mean_x, rise
