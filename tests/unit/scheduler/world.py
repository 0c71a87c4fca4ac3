"""A world for schedulers: a store in memory, a clock that only the test moves, jobs that end by it, deaths and stalls.

What decides and records is the real code. Each call to the store or the ledger is a place where whoever makes it may be
killed, or stalled while others go on.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from jobs.errors import Conflict, InvalidRequest
from jobs.ids import idempotent_job_id
from jobs.origin import Origin
from jobs.record import JobRecord
from jobs.schedules import ScheduleSpec
from jobs.spec import JobSpec
from jobs.states import Status
from scheduler.firing import Firer
from storage.acceptance import Acceptance, Accepted
from storage.firing import Firings
from storage.ledger import DueSchedule, Ledger
from storage.objects import ObjectInfo, ObjectMissing, ObjectStore
from storage.runs import Run, RunEnd, RunTable
from storage.schedules import Revision, ScheduleBook
from storage.submission import Submissions

TENANT = "default"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
JOB = {"kind": "echo", "input": {"items": [{"text": "a"}]}}


class Killed(BaseException):
    """Ends a scheduler as kill -9 would."""


@dataclass
class FakeJob:
    """A job that ends when its time has come."""

    id: str
    tenant: str
    at: int
    seconds: float
    outcomes: list[Status]  #: of each attempt; the last one counts for all that follow
    attempts: int = 1
    cancelled_at: int | None = None
    submissions: int = 1
    spec: JobSpec | None = None
    rows: tuple[int, int] = (10, 0)  #: with a result, and failed
    finalizing: bool = False  #: too far on to be cancelled

    def record(self, now: int) -> JobRecord:
        ends = self.at + int(self.seconds * 1000)
        status, ended = Status.IN_PROGRESS, None
        if self.cancelled_at is not None:
            status, ended = Status.CANCELLED, self.cancelled_at
        elif now >= ends:
            number = min(self.attempts, len(self.outcomes)) - 1
            status, ended = self.outcomes[number], ends
        return JobRecord(
            id=self.id,
            tenant=self.tenant,
            kind="echo",
            status=status,
            created_at=self.at,
            ended_at=ended,
            attempts=self.attempts,
            error={"code": "x"} if status is Status.FAILED else None,
            completed=self.rows[0],
            failed=self.rows[1],
            total=sum(self.rows),
            now=now,
        )


class World:
    """One store, one ledger, one clock."""

    def __init__(self, start: int) -> None:
        self.now = start
        self.skew = 0  #: of whoever acts, in ms
        self.jobs: dict[str, FakeJob] = {}
        self.steps: dict[tuple[str, str], FakeJob] = {}  #: the same by run and step
        self.deleted: set[str] = set()
        self.deliveries: list[str] = []  #: that the ledger knows of, in order
        self.refused: set[str] = set()  #: kinds that cannot be submitted
        self.seconds: Callable[[], float] = lambda: 0.0
        self.outcomes: Callable[[], list[Status]] = lambda: [Status.COMPLETED]
        self.rows: tuple[int, int] = (10, 0)  #: of jobs that are submitted now
        self.step: Callable[[], None] = lambda: None
        self.store = MemoryStore(self)
        self.turns = Turns(self)
        self.ledger = cast("Ledger", MemoryLedger(self))
        self.book = ScheduleBook(self.store, self.ledger)
        self.firings = Firings(
            self.store,
            self.ledger,
            cast("Submissions", FakeSubmissions(self)),
            cast("Acceptance", FakeAcceptance(self)),
        )
        self.firer = Firer(self.ledger, self.firings)

    @property
    def clock(self) -> int:
        """What whoever acts takes for the time."""
        return self.now + self.skew

    def schedule(self, **fields: Any) -> Revision:
        """Make a schedule."""
        spec = ScheduleSpec.model_validate({"job": JOB, **fields})
        return self.book.create(TENANT, spec)[0]

    def run_to(self, moment: int) -> None:
        """Let time pass with one scheduler that is always there."""
        while (due := self.turns.first()) is not None and due <= moment:
            self.now = max(self.now, due)
            while self.firer.fire():
                pass
        self.now = moment

    def runs(self, schedule_id: str) -> list[tuple[Run, RunEnd | None]]:
        """A schedule's history, oldest first."""
        table = RunTable(self.store, TENANT, schedule_id)
        found = [(table.get(mark.id), table.end_of(mark.id)) for mark in table.marks()]
        return [(run, end) for run, end in reversed(found) if run is not None]


def live(world: World, until: int, killed_at: int) -> int:
    """Let time pass with schedulers of which one is killed at its so-manieth call; how many calls there were."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise Killed

    world.step = count
    while (due := world.turns.first()) is not None and due <= until:
        world.now = max(world.now, due)
        try:
            while world.firer.fire():
                pass
        except Killed:
            # Its lease runs out, and another one comes.
            continue
    world.now = until
    world.step = lambda: None
    return calls


class MemoryStore(ObjectStore):
    """Objects by folder, in order of their names."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._data: dict[str, bytes] = {}
        self._folders: defaultdict[str, list[str]] = defaultdict(list)

    def put(self, name: str, data: bytes, content_type: str = "") -> None:
        self._world.step()
        self._write(name, data)
        self._world.step()

    def _write(self, name: str, data: bytes) -> None:
        if name not in self._data:
            insort(self._folders[name.rpartition("/")[0] + "/"], name)
        self._data[name] = data

    def put_once(self, name: str, data: bytes, content_type: str = "") -> bool:
        self._world.step()
        new = name not in self._data
        if new:
            self._write(name, data)
        self._world.step()
        return new

    def get(self, name: str) -> bytes:
        self._world.step()
        if name not in self._data:
            raise ObjectMissing(name)
        return self._data[name]

    def exists(self, name: str) -> bool:
        self._world.step()
        return name in self._data

    def delete(self, name: str) -> None:
        self._world.step()
        if self._data.pop(name, None) is not None:
            self._folders[name.rpartition("/")[0] + "/"].remove(name)

    def list(
        self, prefix: str, *, recursive: bool = True, start_after: str | None = None
    ) -> Iterator[ObjectInfo]:
        self._world.step()
        folder = prefix.rpartition("/")[0] + "/"
        names = self._folders.get(folder, [])
        if folder.count("/") < 5:
            below = sorted(
                name
                for one, some in self._folders.items()
                if one.startswith(folder)
                for name in some
                if name.startswith(prefix)
            )
            parts = {prefix + n.removeprefix(prefix).partition("/")[0] + "/" for n in below}
            names = below if recursive else sorted(parts)
        last = max(start_after or "", prefix)
        # Page by page, each as things are when it is asked for, as a server answers.
        while page := names[(first := bisect_right(names, last)) : first + 20]:
            for name in page:
                if not name.startswith(prefix) and name > prefix:
                    return
                if name.startswith(prefix):
                    yield ObjectInfo(name=name, size=0, etag="", modified=None, metadata={})
            last = page[-1]


class Turns:
    """The ledger's turns of schedules, as its scripts have them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.due: dict[str, int] = {}
        self.leases: dict[str, str] = {}
        self.late_since: dict[str, int] = {}
        self.revisions: dict[str, int] = {}

    def first(self) -> int | None:
        return min(self.due.values(), default=None)

    def enter(self, tenant: str, schedule_id: str, revision: int, *, restorer: str = "") -> bool:
        self._world.step()
        if self.revisions.get(schedule_id, -1) > revision:
            return False
        self.revisions[schedule_id] = revision
        self.due[schedule_id] = self._world.clock
        self.leases.pop(schedule_id, None)
        return True

    def claim(self, token: str, *, lease_ms: int) -> DueSchedule | None:
        self._world.step()
        found = min(self.due.items(), key=lambda one: one[1], default=None)
        if found is None or found[1] > self._world.clock:
            return None
        self.due[found[0]] = self._world.clock + lease_ms
        self.leases[found[0]] = token
        return DueSchedule(tenant=TENANT, id=found[0], token=token)

    def settle(self, due: DueSchedule, at: int | None, *, late_since: int | None) -> bool:
        self._world.step()
        if self.leases.get(due.id) != due.token:
            return False
        del self.leases[due.id]
        if at is None:
            self.due.pop(due.id, None)
        else:
            self.due[due.id] = at
        if late_since is None:
            self.late_since.pop(due.id, None)
        else:
            self.late_since.setdefault(due.id, late_since)
        return True

    def forget(self, tenant: str, schedule_id: str) -> bool:
        self.due.pop(schedule_id, None)
        self.late_since.pop(schedule_id, None)
        return self.revisions.pop(schedule_id, None) is not None

    def revision(self, tenant: str, schedule_id: str) -> int | None:
        return self.revisions.get(schedule_id)

    def count(self, tenant: str) -> int:
        return len(self.revisions)


@dataclass
class MemoryLedger:
    """What schedules ask of the ledger."""

    world: World
    jobs: MemoryJobs = field(init=False)
    schedules: Turns = field(init=False)
    webhooks: MemoryWebhooks = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = MemoryJobs(self.world)
        self.schedules = self.world.turns
        self.webhooks = MemoryWebhooks(self.world)

    def now(self) -> int:
        self.world.step()
        return self.world.clock


@dataclass
class MemoryJobs:
    """The records of jobs."""

    world: World

    def find(self, job_id: str) -> JobRecord | None:
        self.world.step()
        job = None if job_id in self.world.deleted else self.world.jobs.get(job_id)
        return None if job is None else job.record(self.world.now)


@dataclass
class MemoryWebhooks:
    """The deliveries that are due."""

    world: World

    def enter(self, tenant: str, delivery_id: str, *, restorer: str = "") -> bool:
        self.world.step()
        new = delivery_id not in self.world.deliveries
        if new:
            self.world.deliveries.append(delivery_id)
        self.world.step()
        return new


@dataclass
class FakeSubmissions:
    """Takes jobs in by their keys, as the real ones do."""

    world: World

    def id_of(self, tenant: str, key: str) -> str:
        return idempotent_job_id(b"secret", tenant, key)

    def submit(
        self, tenant: str, spec: JobSpec, model: object, key: str, *, origin: Origin, **_: object
    ) -> None:
        self.world.step()
        job_id = self.id_of(tenant, key)
        if job_id in self.world.deleted:
            raise Conflict("the job was deleted")
        known = self.world.jobs.get(job_id)
        if known is not None:
            known.submissions += 1
        else:
            self.world.jobs[job_id] = FakeJob(
                id=job_id,
                tenant=tenant,
                at=self.world.now,
                seconds=self.world.seconds(),
                outcomes=self.world.outcomes(),
                spec=spec,
                rows=self.world.rows,
            )
            self.world.steps[origin.run, origin.step] = self.world.jobs[job_id]
        self.world.step()

    def cancel(self, tenant: str, job_id: str) -> None:
        self.world.step()
        job = self.world.jobs[job_id]
        if job.finalizing or job.record(self.world.now).status.ended:
            raise Conflict("the job cannot be cancelled any more")
        job.cancelled_at = self.world.now

    def retry(self, tenant: str, job_id: str, *, attempts: int) -> None:
        self.world.step()
        job = self.world.jobs[job_id]
        if job.attempts != attempts or not job.record(self.world.now).status.ended:
            raise Conflict("the job was tried again meanwhile")
        job.attempts += 1
        job.at = self.world.now


@dataclass
class FakeAcceptance:
    """Takes what is not refused on purpose."""

    world: World

    def accept(self, tenant: str, spec: JobSpec) -> Accepted:
        if spec.kind in self.world.refused:
            raise InvalidRequest.of("kind", "no such kind", spec.kind)
        if spec.input.job is not None:
            source = self.world.jobs.get(spec.input.job)
            status = None if source is None else source.record(self.world.now).status
            if status is not Status.COMPLETED:
                raise InvalidRequest.of("input.job", f"the job is {status}", spec.input.job)
        return Accepted(model=None, input_bytes=None)
