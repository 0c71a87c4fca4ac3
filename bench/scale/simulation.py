"""Runs a night against the real ledger: its scripts, a clock of our own, and workers that are only a speed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from bench.scale.night import Night, NightJob, Outcome, jain, spread_of
from bench.scale.scene import LEASE_MS, new_job
from bench.scale.server import make_empty
from jobs.ids import new_token
from jobs.ranges import RowRange, check_tiling
from jobs.rows import Usage
from jobs.states import Status
from storage.ledger import Answer, Claim, JobTable, RangeTable, WorkerTable
from storage.ledger.scripts import LedgerClient

#: Time between two heartbeats and between two sweeps, and what an invitation takes on its way, in ms.
_BEAT_MS, _SWEEP_MS, _INVITE_MS = 1_000, 1_000, 4

_CLASS = "cuda"


@dataclass
class _Device:
    speed: float  #: rows/s
    job: str = ""
    claim: Claim | None = None
    token: str = ""
    began: int = 0
    dies: float = float("inf")  #: ms at which it dies while it holds this range
    must_yield: bool = False  #: another job waits: what is done by the next look is committed
    invited: bool = False
    dead: bool = False

    def computed(self, now: int, window: int) -> int:
        """Rows of its range that are done by now: whole windows of them."""
        if self.claim is None:
            return 0
        rows = int((now - self.began) * self.speed / 1000) // window * window
        return min(rows, len(self.claim.rows))


@dataclass
class _Progress:
    job: NightJob
    left: int  #: rows that nobody has claimed
    first: int | None = None  #: when a range of it was first claimed
    ended: int | None = None


class Simulation:
    """One night. ``now`` is its time in ms."""

    def __init__(self, client: LedgerClient, night: Night, announce: Callable[[int], None]) -> None:
        """Args:
        client: of a server that may be emptied.
        night: what happens.
        announce: told how many rows were committed.
        """
        make_empty(client)
        self._client = client
        self._night = night
        self._announce = announce
        self._draw = random.Random(night.seed)  # noqa: S311  (a simulation, not secrets)
        self._begin = self.now = 1_000_000_000
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._jobs = {job.name: _Progress(job, job.rows) for job in night.jobs}
        self._devices = [
            _Device(night.rows_per_second * self._draw.uniform(1 - night.spread, 1 + night.spread))
            for _ in range(night.devices)
        ]
        self._committed = self._calls = self._deaths = self._again = self._yields = 0
        self._commits = 0
        self._served: list[float] | None = None

    @property
    def _ranges(self) -> RangeTable:
        self._calls += 1
        return RangeTable(self._client, LEASE_MS, self.now)

    @property
    def _workers(self) -> WorkerTable:
        self._calls += 1
        return WorkerTable(self._client, self.now)

    def run(self) -> Outcome:
        """Go through the night.

        Raises:
            RuntimeError: a job did not complete, or rows were lost or committed twice.
        """
        for progress in self._jobs.values():
            self._at(progress.job.arrives, partial(self._arrive, progress))
        self._at(0, self._sweep)
        last = 0
        while self._events and any(progress.ended is None for progress in self._jobs.values()):
            self.now, _, happen = heapq.heappop(self._events)
            before = self._commits
            happen()
            if self._commits > before:
                last = self.now
                self._announce(self._committed)
        return self._outcome(last - self._begin)

    def _at(self, after: int, happen: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + after, self._count, happen))

    # --- planning ----------------------------------------------------------------------------------

    def _arrive(self, progress: _Progress) -> None:
        job, table = progress.job, JobTable(self._client)
        entered = table.enter(
            replace(new_job(job.name, job.tenant, job.priority), created_at=self.now)
        )
        token = new_token()
        if not entered or self._ranges.plan_begin(job.name, token) is not Answer.OK:
            raise RuntimeError(f"{job.name} cannot be planned")
        night = self._night
        size = round(night.rows_per_second * night.shard_seconds)
        size = max(night.least_rows, min(size, -(-job.rows // (2 * night.devices))))
        self._plan(job, token, size, 0)

    def _plan(self, job: NightJob, token: str, size: int, start: int) -> None:
        """Plan what can be planned in a second, then go on a second later."""
        stop = min(start + self._night.planned_per_second, job.rows)
        while start < stop:
            rows = RowRange(start, min(start + size, job.rows))
            if self._ranges.add(job.name, token, rows) is not Answer.OK:
                raise RuntimeError(f"the planner of {job.name} was replaced")
            start = rows.stop
        if start == job.rows:
            if self._ranges.seal(job.name, token, job.rows, "[]") is Answer.FINALIZE:
                self._finalize(job.name)
        else:
            self._at(1000, lambda: self._plan(job, token, size, start))
        self._invite()

    # --- what the scheduler does ---------------------------------------------------------------------

    def _sweep(self) -> None:
        self._client.call("watch", "night", 10 * _SWEEP_MS, self.now)
        active = JobTable(self._client).active()
        self._calls += len(active)
        for job_id, found in RangeTable(self._client, LEASE_MS, self.now).sweep_each(active):
            if found.stuck == "finalize":
                self._finalize(job_id)
            elif found.stuck:
                raise RuntimeError(f"{job_id} is stuck: {found.stuck}")
        self._invite()
        self._at(_SWEEP_MS, self._sweep)

    def _invite(self) -> None:
        idle = [one for one in self._devices if not (one.dead or one.claim or one.invited)]
        self._draw.shuffle(idle)
        for device in idle:
            taken = self._workers.invite(_CLASS, len(idle))
            if taken is None:
                return
            device.invited = True
            self._at(_INVITE_MS, partial(self._accept, device, taken[0]))

    # --- what a worker does --------------------------------------------------------------------------

    def _accept(self, device: _Device, slot: str) -> None:
        device.invited = False
        if self._workers.accept(_CLASS, slot) and not device.dead:
            self._serve(device)

    def _serve(self, device: _Device) -> None:
        """Claim the next range, of whichever job the ledger chooses."""
        device.claim, device.must_yield = None, False
        while (job_id := self._ranges.choose([])) is not None:
            device.token = new_token()
            claim = self._ranges.claim(job_id, device.token)
            if claim is None:
                continue
            progress = self._jobs[job_id]
            progress.first = self.now if progress.first is None else progress.first
            progress.left -= len(claim.rows)
            if progress.job.big and progress.left == 0 and self._served is None:
                self._served = self._served_rows()
            device.job, device.claim, device.began = job_id, claim, self.now
            hourly = self._night.deaths_per_hour
            life = self._draw.expovariate(hourly / 3_600_000) if hourly else float("inf")
            device.dies = self.now + life
            self._go_on(device)
            return

    def _go_on(self, device: _Device) -> None:
        """Wait for what comes first: a heartbeat, the range's end, or the device's."""
        if device.claim is None:
            return
        end = device.began + -(-len(device.claim.rows) * 1000 // device.speed)
        beat = self.now + _BEAT_MS
        first = min(beat, end, device.dies)
        step = self._beat if first == beat else self._commit if first == end else self._die
        self._at(max(0, int(first) - self.now), lambda: step(device))

    def _beat(self, device: _Device) -> None:
        claim = device.claim
        if claim is None:
            return
        rows, window = claim.rows, self._night.window_rows
        start = min(rows.start + device.computed(self.now, window), rows.stop - 1)
        hand = RowRange(start, min(start + window, rows.stop))
        answer = self._ranges.heartbeat(device.job, rows, device.token, hand)
        done = device.computed(self.now, window)
        if answer is Answer.LOST:
            raise RuntimeError(f"a live worker lost {rows} of {device.job}")
        device.must_yield |= answer is Answer.YIELD
        if device.must_yield and 0 < done < len(rows):
            self._yields += 1
            self._commit(device, RowRange(rows.start, rows.start + done))
        else:
            self._go_on(device)

    def _commit(self, device: _Device, done: RowRange | None = None) -> None:
        claim = device.claim
        if claim is None:
            return
        done = done or claim.rows
        answer = self._ranges.commit(
            device.job,
            claim.rows,
            device.token,
            done=done,
            results=len(done),
            errors=0,
            usage=Usage(len(done), len(done)),
            device_ms=self.now - device.began,
            size=0,
        )
        if answer not in (Answer.OK, Answer.FINALIZE):
            raise RuntimeError(f"a live worker may not commit {done} of {device.job}: {answer}")
        self._commits += 1
        self._committed += len(done)
        self._jobs[device.job].left += len(claim.rows) - len(done)
        if answer is Answer.FINALIZE:
            self._finalize(device.job)
        self._serve(device)

    def _die(self, device: _Device) -> None:
        claim = device.claim
        if claim is None:
            return
        self._deaths += 1
        self._again += device.computed(self.now, self._night.window_rows)
        self._jobs[device.job].left += len(claim.rows)
        device.dead, device.claim, device.must_yield = True, None, False
        self._at(round(self._night.away_seconds * 1000), lambda: self._come_back(device))

    def _come_back(self, device: _Device) -> None:
        device.dead = False
        self._invite()

    # --- ends ----------------------------------------------------------------------------------------

    def _finalize(self, job_id: str) -> None:
        """End a job whose committed parts cover it without gap or overlap."""
        answer, _ = self._ranges.final_begin(job_id, new_token())
        if answer is not Answer.OK:
            return
        progress = self._jobs[job_id]
        parts = (part.rows for part in self._ranges.parts(job_id))
        for _ in check_tiling(parts, progress.job.rows):
            pass
        table = JobTable(self._client)
        record = table.find(job_id)
        if record is None or record.completed != progress.job.rows:
            raise RuntimeError(f"{job_id} does not count as many rows as it has")
        table.finish(replace(record, status=Status.COMPLETED, ended_at=self.now))
        progress.ended = self.now

    def _served_rows(self) -> list[float]:
        served: dict[str, float] = {}
        for progress in self._jobs.values():
            if progress.job.big:
                rows = progress.job.rows - progress.left
                served[progress.job.tenant] = served.get(progress.job.tenant, 0) + rows
        return list(served.values())

    def _outcome(self, took_ms: int) -> Outcome:
        unended = [name for name, progress in self._jobs.items() if progress.ended is None]
        rows = sum(progress.job.rows for progress in self._jobs.values())
        if unended or self._committed != rows:
            raise RuntimeError(f"{len(unended)} jobs did not end; {self._committed} of {rows} rows")
        small = [progress for progress in self._jobs.values() if not progress.job.big]
        arrived = {id(one): self._begin + one.job.arrives for one in small}
        return Outcome(
            rows=rows,
            jobs=len(self._jobs),
            seconds=took_ms / 1000,
            ideal_seconds=rows / sum(device.speed for device in self._devices),
            deaths=self._deaths,
            rows_again=self._again,
            yields=self._yields,
            commits=self._commits,
            calls=self._calls,
            fairness=jain(self._served or [1.0]),
            small_first_seconds=spread_of(
                [((one.first or 0) - arrived[id(one)]) / 1000 for one in small]
            ),
            small_end_seconds=spread_of(
                [((one.ended or 0) - arrived[id(one)]) / 1000 for one in small]
            ),
        )


def simulate(client: LedgerClient, night: Night, announce: Callable[[int], None]) -> Outcome:
    """Go through a night; see :class:`Simulation`."""
    return Simulation(client, night, announce).run()
