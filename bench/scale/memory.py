"""What ranges and jobs take of Redis's memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.scale.meter import Meter
from bench.scale.scene import PLANNER, Scene, new_job, shard
from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.rows import Usage
from jobs.states import Status
from storage.ledger.scripts import LedgerClient


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one thing."""

    pending_range: float
    leased_range: float
    done_range: float
    small_job: float  #: in progress, with one pending range
    ended_job: float


def measure_memory(
    client: LedgerClient, ranges: int, jobs: int, announce: Callable[[str], None]
) -> Memory:
    """Measure by filling an empty ledger.

    Args:
        client: of a server that may be emptied.
        ranges: of one job; a hash of up to 512 is packed more tightly.
        jobs: each with a single range.
        announce: told what is measured next.
    """
    scene, meter = Scene(client), Meter(client)
    table = scene.ledger.ranges
    announce("memory of ranges")
    scene.enter([new_job("job_measured")])
    empty = meter.used_memory()
    scene.plan(["job_measured"], ranges)
    pending = meter.used_memory()
    held: list[tuple[RowRange, str]] = []
    while (claim := table.claim("job_measured", token := new_token())) is not None:
        held.append((claim.rows, token))
    leased = meter.used_memory()
    for rows, token in held:
        table.commit(
            "job_measured",
            rows,
            token,
            done=rows,
            results=len(rows),
            errors=0,
            usage=Usage(len(rows), len(rows)),
            device_ms=10_000,
            size=100 * len(rows),
        )
    done = meter.used_memory()
    announce("memory of jobs")
    scene = Scene(client)
    before = meter.used_memory()
    names = scene.crowd(jobs)
    active = meter.used_memory()
    for name in names:
        _run(scene, name)
    ended = meter.used_memory()
    return Memory(
        pending_range=(pending - empty) / ranges,
        leased_range=(leased - empty) / ranges,
        done_range=(done - empty) / ranges,
        small_job=(active - before) / jobs,
        ended_job=(ended - before) / jobs,
    )


def _run(scene: Scene, name: str) -> None:
    """Take a job of one range to its end."""
    ledger = scene.ledger
    ledger.ranges.seal(name, PLANNER, len(shard(0)), "[]")
    token = new_token()
    claim = ledger.ranges.claim(name, token)
    record = ledger.jobs.find(name)
    if claim is None or record is None:
        raise RuntimeError(f"{name} cannot be run")
    ledger.ranges.commit(
        name,
        claim.rows,
        token,
        done=claim.rows,
        results=len(claim.rows),
        errors=0,
        usage=Usage(1, 1),
        device_ms=1,
        size=1,
    )
    ended = replace(record, status=Status.COMPLETED, completed=len(claim.rows), ended_at=record.now)
    if not ledger.jobs.finish(ended):
        raise RuntimeError(f"{name} did not end")
