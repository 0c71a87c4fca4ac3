"""How large a run is, and what is done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One size of the chaos test. Times are in seconds."""

    name: str
    rows: int
    workers: int
    delay_ms: float  #: how long each row sleeps in the disturbed run
    shard_seconds: float  #: work in a shard, by ``delay_ms``
    kill_seconds: float  #: between two kills of a worker, from the first row to the end
    kill_waits: bool  #: whether a kill waits until rows were committed since the one before: a busy machine needs that
    valkey_kills: int  #: restarts of Valkey that lose nothing
    valkey_cuts: int  #: restarts that lose the last second of its append-only file
    store_outage: float  #: how long the object store is away
    store_killed: bool  #: whether it is killed for that time, or only stopped
    give_up: float  #: the disturbed run must have ended by then

    @property
    def least_seconds(self) -> float:
        """The disturbed run cannot be over before: so long all workers sleep, if nothing ever goes wrong."""
        return self.rows * self.delay_ms / 1000 / self.workers

    @property
    def shard_rows(self) -> int:
        """Most rows of a shard."""
        return max(1, int(self.shard_seconds * 1000 / self.delay_ms))

    def settings(self) -> Mapping[str, str]:
        """What the stack is configured with."""
        return {
            "TEXTMILL_SHARD_MAX_ROWS": str(self.shard_rows),
            "TEXTMILL_SHARD_SECONDS": str(self.shard_seconds),
        }


#: As large as the test suite can bear, with each injury at least once.
SMALL = Scenario(
    name="small",
    rows=20_000,
    workers=2,
    delay_ms=1.6,
    shard_seconds=1.0,
    kill_seconds=4.0,
    kill_waits=True,
    valkey_kills=1,
    valkey_cuts=1,
    store_outage=5.0,
    store_killed=False,
    give_up=300.0,
)

#: A million rows, five minutes at least.
FULL = Scenario(
    name="full",
    rows=1_000_000,
    workers=4,
    delay_ms=1.2,
    shard_seconds=2.0,
    kill_seconds=5.0,
    kill_waits=False,
    valkey_kills=2,
    valkey_cuts=1,
    store_outage=60.0,
    store_killed=True,
    give_up=3600.0,
)
