"""Memory of the API, the planner and the finalizer, for a small and for a huge job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
from rich.console import Console

from bench.entry import Entry
from bench.peaks import can_measure, forget_peaks, peak_bytes
from bench.rows import tiny_rows
from bench.stack import Platform, platform
from storage.streams import readable

_SMALL, _LARGE = 100_000, 10_000_000
_MOST_GROWTH = 1.2
#: Between two looks at the job's state: the planner's peak must be read before the finalizer adds to it.
_LOOK_SECONDS = 0.005
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Most bytes held by any process of each role."""

    api: int
    planner: int
    finalizer: int


def memory(console: Console, scale: float) -> Iterator[Entry]:
    """Measure whether memory depends on the size of a job.

    Raises:
        RuntimeError: this system does not tell peaks.
    """
    if not can_measure():
        raise RuntimeError("the memory benchmark needs Linux: it reads peaks from /proc")
    small_rows, large_rows = max(1000, round(_SMALL * scale)), max(10_000, round(_LARGE * scale))
    small = _measure(small_rows, console)
    large = _measure(large_rows, console)
    for role in ("api", "planner", "finalizer"):
        ours, peer = getattr(large, role) / _MIB, getattr(small, role) / _MIB
        yield Entry(
            id=f"memory-{role}",
            metric=f"peak MiB of the {role}, {large_rows:,} rows",
            ours=ours,
            peer=peer,
            peer_name=f"the same with {small_rows:,} rows",
            higher_is_better=False,
            goal=f"at most {_MOST_GROWTH} times as much",
            met=ours <= _MOST_GROWTH * peer,
            scale=scale,
        )


def _measure(count: int, console: Console) -> Peaks:
    """Upload, run and download one job on a stack of its own, so that no earlier job's peak counts."""
    with platform() as running:
        begun = time.perf_counter()
        peaks = _one_job(running, count)
        seconds = time.perf_counter() - begun
        shown = ", ".join(f"{name} {value / _MIB:.1f} MiB" for name, value in vars(peaks).items())
        console.print(f"memory: {count:,} rows in {seconds:.0f} s: {shown}")
        return peaks


def _one_job(running: Platform, count: int) -> Peaks:
    client = running.client
    uploaded = client.files.upload(readable(tiny_rows(count)), filename="rows.jsonl")
    control = running.control_pids()
    forget_peaks(control)
    before = {pid: _cpu_seconds(pid) for pid in control}
    job = client.jobs.create(kind="echo", input=uploaded)
    _await(running, job.id, "sealed", "ended_at")
    # Whoever planned did by far the most; the others only joined parts of what was done meanwhile.
    planning = max(control, key=lambda pid: _cpu_seconds(pid) - before[pid])
    planner = peak_bytes([planning])
    joining = peak_bytes(pid for pid in control if pid != planning)
    forget_peaks(control)
    _await(running, job.id, "ended_at")
    finalizer = max(joining, peak_bytes(control))
    ended = client.jobs.get(job.id)
    lines = sum(chunk.count(b"\n") for chunk in client.jobs.content(job.id, "results"))
    if ended.status != "completed" or lines != count:
        raise RuntimeError(f"job {job.id}: {ended.status}, {lines} of {count} results")
    return Peaks(api=peak_bytes(running.api_pids()), planner=planner, finalizer=finalizer)


def _cpu_seconds(pid: int) -> float:
    spent = psutil.Process(pid).cpu_times()
    return spent.user + spent.system


def _await(running: Platform, job_id: str, *fields: str) -> None:
    """Return once the job has one of these fields. Asks the ledger itself, so that no server is kept busy."""
    with running.stack.redis() as ledger:
        while not any(ledger.hmget(f"job:{job_id}", fields)):
            time.sleep(_LOOK_SECONDS)
