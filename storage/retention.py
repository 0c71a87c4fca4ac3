"""What becomes of a schedule's older runs: their jobs and what these wrote are removed, their history stays.

Done from the schedule's looks, after runs have ended; each does a little, and all of it may be done twice. Nothing is
removed but what a run's own jobs wrote. The last run that completed stays always, and so does a run whose job goes on
and one whose output ``_latest.json`` names; such are tried again later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice, takewhile

import orjson
import structlog

from jobs.editions import SUCCESS, NotOurs
from jobs.errors import Conflict, InvalidRequest, NotFound, Unavailable
from jobs.names import JobNames, TenantNames
from jobs.s3uri import S3Pattern, check_allowed
from jobs.schedule_names import ScheduleNames
from jobs.schedules import Keep
from jobs.settings import Settings
from jobs.states import Status
from storage.editions import DayFolder
from storage.ledger import Ledger
from storage.objects import ObjectMissing, ObjectStore
from storage.runs import Run, RunTable
from storage.schedules import Revision
from storage.submission import Submissions, SubmittedJob, remove_objects
from storage.tenants import allowed_prefixes

log = structlog.get_logger(__name__)

#: Runs that one look removes, and seconds after which it removes no further one.
MOST_REMOVED, MOST_SECONDS = 20, 10.0

#: Runs that could not be removed and are remembered.
_MOST_HELD = 1_000

_DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Swept:
    """How far a schedule's older runs are removed. Moments are fire times in ms."""

    rule: dict[str, int | None] | None = None
    newest: str | None = None  #: the newest run that had ended
    done: int = 0  #: what fired before this is removed
    goal: int | None = None  #: so far it is to be removed next; None: nothing is to be done
    position: int = 0  #: from here to the goal it is removed
    held: tuple[str, ...] = ()  #: runs among these that could not be

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> Swept:
        entry = orjson.loads(data)
        return cls(**{**entry, "held": tuple(entry["held"])})


class Retention:
    """Removes older runs of schedules that say how many are kept."""

    def __init__(
        self, settings: Settings, store: ObjectStore, ledger: Ledger, submissions: Submissions
    ) -> None:
        self._settings = settings
        self._store = store
        self._ledger = ledger
        self._submissions = submissions

    def tend(self, revision: Revision, runs: RunTable, now: int) -> bool:
        """Remove some of what is no longer to be kept; whether more is left to do.

        Raises:
            Unavailable: store or ledger are away.
        """
        keep = revision.spec.keep
        newest = None if keep is None else next(runs.ends(), None)
        if keep is None or newest is None:
            return False
        name = ScheduleNames(revision.tenant, revision.id).swept
        known = self._swept(name)
        swept = known
        if known.goal is None:
            rule = keep.model_dump()
            if (known.rule, known.newest) == (rule, newest.id):
                return False
            swept = replace(known, rule=rule, newest=newest.id)
            goal = _goal(keep, runs, known.done, now)
            if goal > known.done:
                swept = replace(swept, goal=goal, position=goal)
            swept = self._retry_held(revision.tenant, runs, swept, now)
        if swept.goal is not None:
            swept = self._sweep(revision.tenant, runs, swept, now)
        self._store.put(name, swept.to_json(), "application/json")
        return swept.goal is not None

    def _swept(self, name: str) -> Swept:
        try:
            return Swept.from_json(self._store.get(name))
        except ObjectMissing:
            return Swept()

    def _sweep(self, tenant: str, runs: RunTable, swept: Swept, now: int) -> Swept:
        """Remove some of the runs between what is done and the goal, newest first."""
        held, position = list(swept.held), swept.position
        until = time.monotonic() + MOST_SECONDS
        for count, mark in enumerate(runs.ends(before=position)):
            if mark.fire_at < swept.done:
                break
            # Not between two that fired at the same moment.
            full = count >= MOST_REMOVED or time.monotonic() >= until
            if full and mark.fire_at < position:
                return replace(swept, position=position, held=_held(held))
            if not self._remove(tenant, runs, mark.id, now) and mark.id not in held:
                held.append(mark.id)
            position = mark.fire_at
        done = swept.done if swept.goal is None else swept.goal
        return replace(swept, done=done, goal=None, held=_held(held))

    def _retry_held(self, tenant: str, runs: RunTable, swept: Swept, now: int) -> Swept:
        some = swept.held[:MOST_REMOVED]
        left = [run for run in some if not self._remove(tenant, runs, run, now)]
        # Those that were not tried now come first the next time.
        return replace(swept, held=(*swept.held[MOST_REMOVED:], *left))

    # --- one run -------------------------------------------------------------------------------------

    def _remove(self, tenant: str, runs: RunTable, run_id: str, now: int) -> bool:
        """Remove the jobs of a run and what they wrote; False where that has to wait."""
        run, end = runs.get(run_id), runs.end_of(run_id)
        if run is None or end is None or end.removed_at is not None:
            return True
        removed = [self._remove_job(tenant, job_id) for job_id in _jobs(run)]
        if not all(removed):
            return False
        if any(self._store.exists(TenantNames(tenant).deleted(job)) for job in _jobs(run)):
            runs.end(run, replace(end, removed_at=now))
            log.info("run removed", schedule=run.schedule, run=run.id)
        return True

    def _remove_job(self, tenant: str, job_id: str) -> bool:
        record = self._ledger.jobs.find(job_id)
        if record is not None and not record.status.ended:
            return False  # somebody tries it again
        try:
            job = SubmittedJob.from_json(self._store.get(JobNames(tenant, job_id).spec))
        except ObjectMissing:
            job = None
        if job is not None and record is None:
            return False  # the ledger is to learn of it first
        # First: without the job nobody would know where its output is.
        if job is not None and not self._remove_output(job):
            return False
        try:
            self._submissions.delete(tenant, job_id)
        except NotFound:
            # Whoever deleted it may have died over its objects.
            if self._store.exists(TenantNames(tenant).deleted(job_id)):
                remove_objects(self._store, JobNames(tenant, job_id))
        except Conflict as error:
            log.info("job not removed", job=job_id, reason=error.detail)
            return False
        return True

    def _remove_output(self, job: SubmittedJob) -> bool:
        """Remove what a job wrote to a bucket of somebody else's; False where that has to wait."""
        output = job.spec.output
        if output is None:
            return True
        try:
            self._check_allowed(job.tenant, output.uri)
            if job.layout == "date":
                return DayFolder(self._store, output.uri, job.day).remove(job.id)
            place = S3Pattern.parse(output.uri)
            bucket = self._store.in_bucket(place.bucket)
            for name in (SUCCESS, f"results.{output.format}", f"errors.{output.format}"):
                bucket.delete(f"{place.pattern}{job.id}/{name}")
        except (InvalidRequest, ObjectMissing) as error:
            # It may not be touched any more, or there is no such bucket.
            log.warning("output stays", job=job.id, uri=output.uri, reason=str(error))
        except (NotOurs, Unavailable) as error:
            log.warning("output not removed", job=job.id, uri=output.uri, reason=str(error))
            return False
        return True

    def _check_allowed(self, tenant: str, uri: str) -> None:
        settings = self._settings
        check_allowed(
            uri,
            own_bucket=settings.s3_bucket,
            allowed=allowed_prefixes(self._ledger, tenant, settings.s3_allowed_prefixes),
            field="output.uri",
        )


def _jobs(run: Run) -> list[str]:
    """The jobs of a run, those that were never submitted included."""
    return list(run.jobs.values())


def _goal(keep: Keep, runs: RunTable, done: int, now: int) -> int:
    """The fire time before which runs are removed: each limit that is given keeps what it names."""

    def completed() -> Iterator[int]:
        recent = takewhile(lambda mark: mark.fire_at >= done, runs.ends())
        return (mark.fire_at for mark in recent if mark.status == Status.COMPLETED)

    bounds = [next(completed(), 0)]
    if keep.days is not None:
        bounds.append(now - keep.days * _DAY_MS)
    if keep.runs is not None:
        bounds.append(next(islice(completed(), keep.runs - 1, None), 0))
    oldest = next(iter(runs.open()), None)
    if oldest is not None:
        # What it goes on from may be the run that completed before it.
        bounds.append(next((one for one in completed() if one < oldest.fire_at), 0))
    return min(bounds)


def _held(runs: list[str]) -> tuple[str, ...]:
    return tuple(runs[-_MOST_HELD:])
