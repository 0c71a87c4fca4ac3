"""What each call of the ledger costs on a small ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.scale.meter import Cost, Meter
from bench.scale.scene import LEASE_MS, PLANNER, Scene, job_name, new_job, shard
from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.rows import Usage
from storage.ledger import JobFilter
from storage.ledger.ranges import YIELD_MS
from storage.ledger.scripts import Argument, LedgerClient

#: Jobs and their ranges that lie about while a call is measured.
_JOBS, _RANGES = 10, 100

_ANYTHING = JobFilter()
_MEASURED = "job_measured"


def worker_facts(number: int) -> dict[str, Any]:
    """What a worker says of itself."""
    return {
        "id": f"host-{number:05d}.example.org:1234",
        "host": f"host-{number:05d}.example.org",
        "role": "model",
        "pid": 1234,
        "device": "NVIDIA H100 80GB HBM3",
        "device_type": "cuda",
        "models": ["hub:organisation/model-name@0123456789abcdef0123456789abcdef01234567"],
        "job": job_name(number % 10),
        "busy": True,
    }


def measure_calls(
    client: LedgerClient, count: int, announce: Callable[[str], None]
) -> dict[str, Cost]:
    """The cost of each call, by its name.

    Args:
        client: of a server that may be emptied.
        count: how often each is called.
        announce: told the name of what is measured next.
    """
    scene, meter = Scene(client), Meter(client)
    ledger = scene.ledger
    ranges, jobs, workers = ledger.ranges, ledger.jobs, ledger.workers
    names = scene.crowd(_JOBS, ranges=_RANGES)
    scene.enter([new_job(_MEASURED)])
    tokens = [new_token() for _ in range(count)]
    leased: dict[int, RowRange] = {}
    found: dict[str, Cost] = {}

    def measure(name: str, call: Callable[[int], object], times: int = count) -> None:
        announce(name)
        found[name] = meter.measure(call, times)

    def claim(number: int) -> None:
        taken = ranges.claim(_MEASURED, tokens[number])
        if taken is None:
            raise RuntimeError(f"nothing to claim at call {number}")
        leased[number] = taken.rows

    def heartbeat(number: int) -> None:
        rows = leased[number]
        ranges.heartbeat(_MEASURED, rows, tokens[number], RowRange(rows.start, rows.start + 64))

    def commit(number: int) -> None:
        rows = leased[number]
        ranges.commit(
            _MEASURED,
            rows,
            tokens[number],
            done=rows,
            results=len(rows),
            errors=0,
            usage=Usage(len(rows), len(rows)),
            device_ms=10_000,
            size=100 * len(rows),
        )

    def release(number: int) -> None:
        ranges.release(_MEASURED, leased[half + number], tokens[half + number])

    half = count // 2
    measure("add", lambda n: ranges.add(_MEASURED, PLANNER, shard(n)))
    measure("claim", claim)
    measure("heartbeat", heartbeat)
    measure("commit", commit, half)
    measure("release", release, count - half)
    measure("choose", lambda _: ranges.choose(["another model"]))
    measure("sweep", lambda _: ranges.sweep(names[0]))
    round_of = [names[n % len(names)] for n in range(100)]
    found["sweep, of 100"] = _each_of_100(
        meter.measure(lambda _: list(ranges.sweep_each(round_of)), max(5, count // 100))
    )
    held = ranges.claim(names[1], PLANNER)
    rows = str(held.rows) if held is not None else ""
    beat: list[Argument] = [names[1], rows, PLANNER, LEASE_MS, rows, YIELD_MS, ""]
    found["heartbeat, of 100"] = _each_of_100(
        meter.measure(lambda _: client.call_each("heartbeat", [beat] * 100), max(5, count // 100))
    )
    measure("invite", lambda _: workers.invite("cuda", 0))
    measure("announce", lambda n: workers.announce(f"w{n % 100}", worker_facts(n % 100)))
    measure("record_speed", lambda _: workers.record_speed("classify", "model", "cuda", 1e6))
    measure("job read", lambda n: jobs.get("t0", names[n % _JOBS]))
    measure("list of 20", lambda _: jobs.page("t0", _ANYTHING, after=None, limit=20), count // 5)
    measure("submit", lambda n: jobs.enter(new_job(f"job_new{n:022d}")))
    return found


def _each_of_100(hundred: Cost) -> Cost:
    """What one of a hundred calls costs that arrive together, as they do at a server that is never idle."""
    return Cost(
        server_us=hundred.server_us / 100,
        least_us=hundred.least_us / 100,
        per_second=hundred.per_second * 100,
        calls=hundred.calls * 100,
    )
