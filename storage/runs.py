"""What became of each firing of a schedule: its decision, made once, and how its run ended.

A decision is an object named by the fire time and created only if there is none, so whoever decides a firing first
has decided it for all. Three folders, each newest first: ``runs`` holds the decisions, ``open`` marks runs that may
not have ended, ``ends`` says how they did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from jobs.chains import StepState
from jobs.record import rfc3339
from jobs.schedule_names import ScheduleNames, run_id_of, run_key
from storage.objects import ObjectMissing, ObjectStore


class Decision(StrEnum):
    """What was decided of a firing."""

    FIRE = "fire"  #: a job is submitted
    MISSED = "missed"  #: nobody was there in time, and it is not made up for
    OVERLAP = "overlap"  #: an earlier run had not ended


@dataclass(frozen=True, kw_only=True)
class Run:
    """One firing, as it was decided. Times are ms by Redis's clock."""

    id: str
    schedule: str
    fire_at: int
    due_at: int  #: with its jitter
    decided_at: int
    decision: Decision
    revision: int  #: of the schedule, whose job it is
    reason: str | None = None
    late: bool = False  #: it was missed and is made up for
    manual: bool = False  #: somebody asked for it
    job: str | None = None
    waits: bool = False  #: it is submitted once all earlier runs have ended
    cancels: bool = False  #: earlier runs are cancelled for it
    retries: int = 0
    full: bool = False  #: every row is computed, whatever earlier runs made of it
    steps: dict[str, str] = field(default_factory=dict)  #: further jobs: step -> id of its job
    trigger: str | None = (
        None  #: who asked for it by hand: digest of an ``Idempotency-Key``, or a token
    )

    @property
    def jobs(self) -> dict[str | None, str]:
        """Ids of all its jobs by their steps; the first one has no name."""
        ids: dict[str | None, str] = {} if self.job is None else {None: self.job}
        ids.update(self.steps)
        return ids

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> Run:
        entry = orjson.loads(data)
        return cls(**{**entry, "decision": Decision(entry["decision"])})


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How a run ended."""

    #: That of the job that decides (see :func:`jobs.chains.decisive`), or ``refused``: it could not be submitted; or
    #: ``deleted``: it was.
    status: str
    at: int  #: ms
    attempts: int = 0  #: generations of that job
    error: dict[str, Any] | None = None
    jobs: list[dict[str, Any]] = field(default_factory=list)  #: each, as the API shows it
    corpus: dict[str, Any] | None = None  #: of an incremental run; see :class:`jobs.corpora.Corpus`
    removed_at: int | None = None  #: ms: since when its jobs and their output are gone

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class RunMark:
    """What the name of an object tells of a run."""

    id: str
    status: str | None = None

    @property
    def fire_at(self) -> int:
        return int(self.id.removesuffix("m"))

    @property
    def manual(self) -> bool:
        return self.id.endswith("m")


class RunTable:
    """The runs of one schedule."""

    def __init__(self, store: ObjectStore, tenant: str, schedule_id: str) -> None:
        self._store = store
        self._names = ScheduleNames(tenant, schedule_id)

    def decide(self, run: Run) -> bool:
        """Write a decision; False when the firing is decided already, by whomever."""
        if run.decision is Decision.FIRE:
            # First: a run that nobody knows to be open would never be submitted if its decider died.
            self._store.put(self._names.opened(run.id), b"")
        return self._store.put_once(self._names.run(run.id), run.to_json())

    def get(self, run_id: str) -> Run | None:
        """A run, or None where it was never decided."""
        try:
            return Run.from_json(self._store.get(self._names.run(run_id)))
        except ObjectMissing:
            return None

    def marks(self, after: str | None = None) -> Iterator[RunMark]:
        """The runs that were decided, newest first."""
        start = None if after is None else self._names.run(after)
        return self._marks(self._names.runs, start)

    def open(self) -> list[Run]:
        """The runs that have not ended, oldest first. Marks of what needs none are removed."""
        found = []
        for mark in self._marks(self._names.open):
            run = self.get(mark.id)
            if run is not None and run.decision is Decision.FIRE:
                found.append(run)
            elif run is not None:
                self._store.delete(self._names.opened(mark.id))
        found.sort(key=lambda run: (run.fire_at, run.manual))
        return found

    def stop(self, run: Run) -> None:
        """Let a run of several jobs go no further. Whoever looks at it next cancels what goes on."""
        self._store.put(self._names.stopped(run.id), b"")

    def stopped(self, run: Run) -> bool:
        """Whether it goes no further."""
        return bool(run.steps) and self._store.exists(self._names.stopped(run.id))

    def asked(self, digest: str, moment: int, *, full: bool) -> tuple[int, bool]:
        """When a run was first asked for with a key, in ms, and whether it was to be full; now, unless it was before.

        Args:
            digest: of the key.
            moment: ms: what counts where nobody asked before.
            full: what is asked now.
        """
        name = self._names.trigger(digest)
        new = {"moment": moment, "full": full}
        if not self._store.put_once(name, orjson.dumps(new)):
            new = orjson.loads(self._store.get(name))
        return int(new["moment"]), bool(new["full"])

    def end(self, run: Run, end: RunEnd) -> None:
        """Say how a run ended."""
        self._store.put(self._names.end(run.id, end.status), end.to_json(), "application/json")
        self._store.delete(self._names.opened(run.id))
        if run.steps:
            self._store.delete(self._names.stopped(run.id))

    def ends(self, before: int | None = None) -> Iterator[RunMark]:
        """The runs that ended, newest first, with their status; only those that fired before a moment, in ms."""
        # Whatever the names of that moment end with sorts before this.
        start = None if before is None else f"{self._names.ends}{run_key(str(before))}~"
        return self._marks(self._names.ends, start)

    def end_of(self, run_id: str) -> RunEnd | None:
        """How a run ended, if it did."""
        prefix = self._names.end(run_id, "")
        for found in self._store.list(prefix):
            return RunEnd(**orjson.loads(self._store.get(found.name)))
        return None

    def _marks(self, folder: str, start: str | None = None) -> Iterator[RunMark]:
        for found in self._store.list(folder, start_after=start):
            run_id, status = run_id_of(found.name.removeprefix(folder))
            yield RunMark(id=run_id, status=status)


def public_run(
    run: Run, end: RunEnd | None, states: Sequence[StepState] | None = None
) -> dict[str, Any]:
    """A run as the API shows it.

    Args:
        run: the run.
        end: how it ended, if it did.
        states: of one that has not ended, how its jobs stand, as far as that is known.
    """
    jobs = [state.public() for state in states or ()]
    if end is not None:
        jobs = end.jobs
    if not jobs and run.job is not None:
        status = "waiting" if end is None else end.status
        jobs = [StepState(step=None, job=run.job, status=status).public()]
    decided = str(run.decision) if run.decision is not Decision.FIRE else "open"
    status = decided if end is None else end.status
    return {
        "object": "run",
        "id": run.id,
        "schedule": run.schedule,
        "fire_at": rfc3339(run.fire_at),
        "decided_at": rfc3339(run.decided_at),
        "status": status,
        "reason": run.reason,
        "late": run.late,
        "manual": run.manual,
        "full": run.full,
        "job": run.job,
        "jobs": jobs,
        "ended_at": None if end is None else rfc3339(end.at),
        "removed_at": None if end is None else rfc3339(end.removed_at),
        "error": None if end is None else end.error,
        "corpus": None if end is None else end.corpus,
        "links": {} if run.job is None else {"job": f"/v1/jobs/{run.job}"},
    }
