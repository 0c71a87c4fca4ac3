"""How costs change with the number of jobs, of ranges in a job, of tenants, and of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.scale.calls import worker_facts
from bench.scale.meter import Cost, Meter
from bench.scale.scene import PLANNER, Scene, job_name, new_job, shard
from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.states import Priority, Status
from storage.ledger import JobFilter
from storage.ledger.scripts import LedgerClient

Announce = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a call costs at one size."""

    axis: str  #: what there is more and more of
    size: int
    call: str
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """At which sizes calls are measured."""

    jobs: Sequence[int] = (10, 1_000, 10_000)
    ranges: Sequence[int] = (10_000, 100_000)
    tenants: Sequence[int] = (1, 4, 16, 64)
    workers: Sequence[int] = (10, 200, 1_000, 5_000)


def measure_bends(
    client: LedgerClient, sizes: Sizes, count: int, announce: Announce
) -> Iterator[Point]:
    """Measure along all four axes."""
    steps = (
        ("active jobs", sizes.jobs, _with_jobs),
        ("ranges of a job", sizes.ranges, _with_ranges),
        ("tenants with 16 jobs in each priority", sizes.tenants, _with_tenants),
        ("live workers", sizes.workers, _with_workers),
    )
    for axis, numbers, calls_at in steps:
        for size in numbers:
            announce(f"{size:,} {axis}")
            scene, meter = Scene(client), Meter(client)
            for call, once, share in calls_at(scene, size, count):
                cost = meter.measure(once, max(5, round(count * share)))
                yield Point(axis=axis, size=size, call=call, cost=cost)


#: Name, the call, and how often it is measured as a share of the usual count.
_Calls = Iterator[tuple[str, Callable[[int], object], float]]


def _with_jobs(scene: Scene, size: int, count: int) -> _Calls:
    ranges, workers, jobs = scene.ledger.ranges, scene.ledger.workers, scene.ledger.jobs
    names = scene.crowd(size)
    scene.enter([new_job("job_measured")])
    scene.plan(["job_measured"], count + 1)
    token = new_token()
    held = ranges.claim("job_measured", token)
    rows = held.rows if held is not None else shard(0)
    yield "choose", lambda _: ranges.choose([]), 1
    yield "choose, a model at hand", lambda _: ranges.choose(["another model"]), 1
    yield "invite", lambda _: workers.invite("cuda", 200), 1
    yield "heartbeat", lambda _: ranges.heartbeat("job_measured", rows, token, rows), 1
    yield "claim", lambda n: ranges.claim("job_measured", f"{token}{n}"), 1
    nothing_left = JobFilter(status=Status.EXPIRED)
    yield "sweep round, one by one", lambda _: [ranges.sweep(name) for name in names], 0
    yield "sweep round", lambda _: list(ranges.sweep_each(jobs.active())), 0
    yield (
        "list, filter matches none",
        lambda _: jobs.page("t0", nothing_left, after=None, limit=20),
        0,
    )
    yield "submit", lambda n: jobs.enter(new_job(f"job_new{n:022d}")), 1


def _with_ranges(scene: Scene, size: int, count: int) -> _Calls:
    ranges = scene.ledger.ranges
    scene.enter([new_job("job_measured")])
    scene.plan(["job_measured"], size)
    tokens = [new_token() for _ in range(count)]
    leased: dict[int, RowRange] = {}

    def claim(number: int) -> None:
        taken = ranges.claim("job_measured", tokens[number])
        if taken is not None:
            leased[number] = taken.rows

    def heartbeat(number: int) -> None:
        rows = leased[number]
        ranges.heartbeat("job_measured", rows, tokens[number], rows)

    yield "add", lambda n: ranges.add("job_measured", PLANNER, shard(size + n)), 1
    yield "claim", claim, 1
    yield "heartbeat", heartbeat, 1
    yield "release", lambda n: ranges.release("job_measured", leased[n], tokens[n]), 1
    yield "sweep", lambda _: ranges.sweep("job_measured"), 1


def _with_tenants(scene: Scene, size: int, _count: int) -> _Calls:
    ranges, workers = scene.ledger.ranges, scene.ledger.workers
    groups = [(priority, tenant) for priority in Priority for tenant in range(size)]
    jobs = [
        new_job(job_name(number), f"t{tenant}", priority)
        for number, (priority, tenant, _) in enumerate(
            (*group, one) for group in groups for one in range(16)
        )
    ]
    scene.enter(jobs)
    scene.plan([job.id for job in jobs], 1)
    low = jobs[-1].id
    token = new_token()
    held = ranges.claim(low, token)
    rows = held.rows if held is not None else shard(0)
    yield "choose", lambda _: ranges.choose([]), 1
    yield "choose, a model at hand", lambda _: ranges.choose(["another model"]), 1
    yield "invite, 200 idle", lambda _: workers.invite("cuda", 200), 1
    yield "invite, 5,000 idle", lambda _: workers.invite("cuda", 5_000), 1
    yield "heartbeat of low priority", lambda _: ranges.heartbeat(low, rows, token, rows), 1


def _with_workers(scene: Scene, size: int, _count: int) -> _Calls:
    workers = scene.ledger.workers
    for number in range(size):
        workers.announce(f"w{number}", worker_facts(number))
    yield "announce", lambda n: workers.announce(f"w{n % size}", worker_facts(n % size)), 1
    yield "live workers", lambda _: workers.live(), 0.02
