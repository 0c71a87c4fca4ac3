"""A run from its first job to its end: submits its jobs one after another, tries them again, stops them.

All that a look does here follows from what the store and the ledger say at that moment, and may be done twice: each job
has an id made of schedule, run and step, and is submitted only once the one before it has ended as its step wants it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from jobs.chains import FAILURES, Step, StepState, decisive, in_order
from jobs.errors import Conflict, QuotaExceeded, TextmillError, Unavailable
from jobs.names import JobNames
from jobs.origin import Origin
from jobs.record import JobRecord
from jobs.spec import JobSpec
from jobs.states import Status
from jobs.timing import day_of
from storage.acceptance import Acceptance
from storage.alerts import Alerts
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.runs import Run, RunEnd, RunTable
from storage.schedules import Revision, ScheduleBook
from storage.submission import Submissions

log = structlog.get_logger(__name__)

#: Pauses before a failed job is tried again, in ms: the first, doubled each time, and the longest.
RETRY_MS, MOST_RETRY_MS = 30_000, 900_000

#: How a job stands whose run goes on, beside what :class:`jobs.states.Status` knows.
_WAITING, _RETRYING, _SKIPPED = "waiting", "retrying", "skipped"


def job_key(schedule_id: str, run_id: str, step: str | None = None) -> str:
    """What the id of a run's job is made of; no ``Idempotency-Key`` of a caller has a blank in it."""
    key = f"schedule {schedule_id} {run_id}"
    return key if step is None else f"{key} {step}"


class Follower:
    """Follows the runs of all schedules."""

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        submissions: Submissions,
        acceptance: Acceptance,
        *,
        book: ScheduleBook,
        alerts: Alerts,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._submissions = submissions
        self._acceptance = acceptance
        self._book = book
        self._alerts = alerts

    def follow(
        self, schedule: Revision, runs: RunTable, open_runs: Sequence[Run], now: int
    ) -> list[Run]:
        """Take each open run one step further, oldest first; those that are open still.

        Args:
            schedule: its newest revision.
            runs: its runs.
            open_runs: those that have not ended.
            now: ms.
        """
        still: list[Run] = []
        for run in open_runs:
            if self.advance(schedule, runs, run, still, now) is None:
                still.append(run)
        return still

    def advance(
        self, schedule: Revision, runs: RunTable, run: Run, earlier: Sequence[Run], now: int
    ) -> RunEnd | None:
        """Take a run one step further; its end, written down, if it has come.

        Args:
            schedule: the newest revision.
            runs: its runs.
            run: which.
            earlier: those before it that are open still.
            now: ms.
        """
        found = {step: self._ledger.jobs.find(job) for step, job in run.jobs.items()}
        if found[None] is None:
            if run.waits and earlier:
                return None
            if run.cancels:
                self._stop(runs, earlier, schedule.tenant)
        revision: Revision | None = schedule
        if run.revision != schedule.number:
            revision = self._book.revision(schedule.tenant, run.schedule, run.revision)
        if revision is None:
            end: RunEnd | None = RunEnd(status="deleted", at=now)
        else:
            stopped = runs.stopped(run)
            if stopped:
                self._cancel(schedule.tenant, run, found)
            states = _Advance(self, revision, run, found, now, stopped=stopped).states()
            end = _end(states, found[None], now)
        if end is not None:
            if end.status in FAILURES:
                self._alerts.failed(schedule, run, end)
            runs.end(run, end)
            log.info("run ended", schedule=run.schedule, run=run.id, status=end.status)
        return end

    # --- submitting ----------------------------------------------------------------------------------

    def submit(
        self, revision: Revision, run: Run, step: str | None, spec: JobSpec, now: int
    ) -> StepState:
        """Submit a job of a run, unless it was submitted; how it stands then."""
        tenant, job_id = revision.tenant, run.jobs[step]
        model, size = None, None
        try:
            # One that was taken in already stays as it is, whatever its references stand for by now.
            if not self._store.exists(JobNames(tenant, job_id).spec):
                accepted = self._acceptance.accept(tenant, spec)
                model, size = accepted.model, accepted.input_bytes
            origin = Origin(
                schedule=run.schedule,
                run=run.id,
                date=day_of(run.fire_at, revision.spec.timezone),
                step=step or "",
                full=run.full,
                incremental=revision.spec.incremental,
            )
            key = job_key(run.schedule, run.id, step)
            self._submissions.submit(tenant, spec, model, key, input_bytes=size, origin=origin)
        except QuotaExceeded as error:
            log.info("run waits", schedule=run.schedule, run=run.id, reason=error.detail)
        except Unavailable:
            raise
        except Conflict:
            return StepState(step=step, job=job_id, status="deleted", at=now)
        except TextmillError as error:
            problem = {"code": error.code, "message": error.detail}
            return StepState(step=step, job=job_id, status="refused", error=problem, at=now)
        return StepState(step=step, job=job_id, status=_WAITING)

    # --- trying again --------------------------------------------------------------------------------

    def tries_again(self, tenant: str, run: Run, record: JobRecord, tries: int, now: int) -> bool:
        """Whether a run goes on although a job of it has ended, for that is, or will be, tried again.

        Args:
            tenant: whose it is.
            run: the run.
            record: the job that has ended.
            tries: how often jobs of the run were tried again.
            now: ms.
        """
        if record.status not in (Status.FAILED, Status.EXPIRED) or tries >= run.retries:
            return False
        pause = min(RETRY_MS << (record.attempts - 1), MOST_RETRY_MS)
        if now < (record.ended_at or now) + pause:
            return True
        try:
            self._submissions.retry(tenant, record.id, attempts=record.attempts)
        except QuotaExceeded:
            return True
        except Conflict:
            found = self._ledger.jobs.find(record.id)
            return found is not None and not found.status.ended
        log.info("run is tried again", run=run.id, job=record.id, attempt=record.attempts + 1)
        return True

    # --- stopping ------------------------------------------------------------------------------------

    def _stop(self, runs: RunTable, earlier: Sequence[Run], tenant: str) -> None:
        """Cancel runs, and let none of their further jobs begin."""
        for run in earlier:
            if run.steps:
                runs.stop(run)
            found = {step: self._ledger.jobs.find(job) for step, job in run.jobs.items()}
            self._cancel(tenant, run, found)

    def _cancel(self, tenant: str, run: Run, found: Mapping[str | None, JobRecord | None]) -> None:
        for record in found.values():
            if record is None or record.status.ended:
                continue
            try:
                self._submissions.cancel(tenant, record.id)
            except Conflict as error:
                # It is at its end by itself.
                log.info("not cancelled", run=run.id, reason=error.detail)


class _Advance:
    """One look at the jobs of one run."""

    def __init__(
        self,
        follower: Follower,
        revision: Revision,
        run: Run,
        found: Mapping[str | None, JobRecord | None],
        now: int,
        *,
        stopped: bool,
    ) -> None:
        self._follower = follower
        self._revision = revision
        self._run = run
        self._found = found
        self._now = now
        self._stopped = stopped
        self._steps = list(in_order(revision.spec.then)) if run.steps else []
        self._tries = sum(record.attempts - 1 for record in found.values() if record is not None)

    def states(self) -> list[StepState]:
        """Do what is to be done now; how each job stands then, each behind the one that it follows."""
        states: dict[str | None, StepState] = {None: self._first()}
        for step in self._steps:
            states[step.name] = self._further(step, states)
        return list(states.values())

    def _first(self) -> StepState:
        known = self._known(None)
        if known is not None:
            return known
        if self._stopped:
            job = self._run.jobs[None]
            return StepState(step=None, job=job, status=Status.CANCELLED.value, at=self._now)
        return self._follower.submit(
            self._revision, self._run, None, self._revision.spec.job, self._now
        )

    def _further(self, step: Step, states: Mapping[str | None, StepState]) -> StepState:
        known = self._known(step.name)
        if known is not None:
            return known
        job, before = self._run.jobs[step.name], states[step.after]
        if self._stopped:
            return self._skipped(step, "a later run took its place")
        if not before.ended:
            return StepState(step=step.name, job=job, status=_WAITING)
        followed = "the schedule's job" if step.after is None else step.after
        if before.status != Status.COMPLETED:
            return self._skipped(step, f"{followed} is {before.status}")
        record = self._found[step.after]
        unmet = None if record is None else step.when.unmet(record)
        if unmet is not None:
            return self._skipped(step, f"of {followed}, {unmet}")
        spec = step.job.reading(before.job)
        return self._follower.submit(self._revision, self._run, step.name, spec, self._now)

    def _known(self, step: str | None) -> StepState | None:
        """How a job stands that was submitted."""
        job, record = self._run.jobs[step], self._found[step]
        if record is None:
            if any(one.after == step and self._found[one.name] for one in self._steps):
                # It was deleted once the next one had begun, and that begins only where it has completed.
                return StepState(
                    step=step, job=job, status=Status.COMPLETED.value, at=self._run.decided_at
                )
            return None
        status = record.status.value
        tenant = self._revision.tenant
        if not self._stopped and self._follower.tries_again(
            tenant, self._run, record, self._tries, self._now
        ):
            status = _RETRYING
        return StepState(
            step=step,
            job=job,
            status=status,
            error=record.error,
            at=record.ended_at or self._now,
            attempts=record.attempts,
        )

    def _skipped(self, step: Step, reason: str) -> StepState:
        return StepState(
            step=step.name, job=self._run.jobs[step.name], status=_SKIPPED, reason=reason
        )


def _end(states: Sequence[StepState], first: JobRecord | None, now: int) -> RunEnd | None:
    """How a run has ended whose jobs stand so; None while it goes on."""
    if not all(state.ended for state in states):
        return None
    one = decisive(states)
    return RunEnd(
        status=one.status,
        at=max(state.at for state in states) or now,
        attempts=one.attempts,
        error=one.error,
        jobs=[state.public() for state in states],
        corpus=None if first is None else first.corpus,
    )
