"""One look at a schedule: decides what is due, submits what was decided, follows runs to their end.

Any number of processes may look at once and be killed anywhere: a decision is made once (:mod:`storage.runs`), a run's
job has an id that follows from the firing, and all else is read from the store and done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import structlog

from jobs.errors import Conflict, QuotaExceeded, TextmillError, Unavailable
from jobs.names import JobNames
from jobs.origin import Origin
from jobs.record import JobRecord
from jobs.schedules import Firing, Missed, Overlap, decide
from jobs.states import Status
from jobs.timing import day_of
from storage.acceptance import Acceptance
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.retention import Retention
from storage.runs import Decision, Run, RunEnd, RunMark, RunTable
from storage.schedules import Revision, ScheduleBook
from storage.submission import Submissions

log = structlog.get_logger(__name__)

#: Runs of one schedule that may wait for earlier ones.
MOST_WAITING = 10

#: Pauses before a failed run is tried again, in ms: the first, doubled each time, and the longest.
RETRY_MS, MOST_RETRY_MS = 30_000, 900_000

#: Between two looks at a run that has not ended, in ms: a quarter of its age, within these.
_LOOK_MS, _MOST_LOOK_MS = 2_000, 60_000

#: How a run can end that counts as failed. A cancelled one is what somebody wanted.
FAILURES = frozenset({"failed", "expired", "refused"})


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look found."""

    again_at: int | None  #: when to look again, in ms; None: not before the schedule is changed
    late_since: int | None  #: since when (ms) a run should have completed; None: none is late


class Firings:
    """The firings of all schedules."""

    def __init__(
        self,
        store: ObjectStore,
        ledger: Ledger,
        submissions: Submissions,
        acceptance: Acceptance,
        retention: Retention | None = None,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._submissions = submissions
        self._acceptance = acceptance
        self._retention = retention
        self._book = ScheduleBook(store, ledger)

    def look(self, tenant: str, schedule_id: str) -> Look | None:
        """Do all that is to be done for a schedule now; None where there is none any more.

        Raises:
            Unavailable: store or ledger are away. What was not done is done by the next look.
        """
        # Before the revision is read: a change acknowledged before a firing was due is seen by whoever decides it.
        now = self._ledger.now()
        revision = self._book.newest(tenant, schedule_id)
        if revision is None or revision.deleted:
            return None
        runs = RunTable(self._store, tenant, schedule_id)
        open_runs = self._follow(tenant, runs, runs.open(), now)
        revision = self._pause_failing(revision, runs)
        stuck = False
        if not revision.paused:
            decided, stuck = self._decide(revision, runs, open_runs, now)
            if decided:
                open_runs = self._follow(tenant, runs, open_runs, now)
        look = _next_look(revision, runs, open_runs, now, stuck=stuck)
        if self._retention is not None and self._retention.tend(revision, runs, now):
            look = replace(look, again_at=now)
        return look

    def trigger(
        self, tenant: str, schedule_id: str, *, full: bool = False
    ) -> tuple[Run, RunEnd | None]:
        """Make a run now because somebody asks for it, also of a paused schedule and beside others that run.

        Args:
            tenant: whose it is.
            schedule_id: the schedule.
            full: compute every row, whatever earlier runs made of it.

        Raises:
            NotFound: the tenant has no such schedule.
        """
        revision = self._book.get(tenant, schedule_id)
        runs = RunTable(self._store, tenant, schedule_id)
        now = self._ledger.now()
        # Never at a whole second, as firings by plan are.
        moment = now if now % 1000 else now + 1
        while True:
            run = self._new_run(revision, f"{moment}m", moment, now, manual=True)
            run = replace(run, full=full)
            if runs.decide(run):
                break
            moment += 1
        end = self._step(tenant, run, [], now)
        if end is not None:
            runs.end(run, end)
        self._ledger.schedules.enter(tenant, schedule_id, revision.number)
        return run, end

    # --- deciding ------------------------------------------------------------------------------------

    def _decide(
        self, revision: Revision, runs: RunTable, open_runs: list[Run], now: int
    ) -> tuple[bool, bool]:
        """Decide what is due; whether anything was decided, and whether more must wait for runs to end."""
        decided = False
        due = decide(
            revision.id,
            revision.spec,
            revision.created_at,
            after=_decided_until(revision, runs),
            now=now,
        )
        missed = sum(firing.verdict == "missed" for firing in due)
        if missed:
            log.warning("firings were missed", schedule=revision.id, count=missed)
        for firing in due:
            run = self._decision(revision, firing, open_runs, now)
            if run is None:
                return decided, True
            decided = True
            if not runs.decide(run):
                # Somebody else did, and what is to become of the next one depends on it.
                known = runs.get(run.id)
                if known is not None and known.decision is Decision.FIRE:
                    open_runs.append(known)
                return decided, False
            if run.decision is Decision.FIRE:
                open_runs.append(run)
            if run.decision is not Decision.MISSED:
                log.info("fired", schedule=revision.id, run=run.id, decision=str(run.decision))
        return decided, False

    def _decision(
        self, revision: Revision, firing: Firing, open_runs: Sequence[Run], now: int
    ) -> Run | None:
        """What becomes of a firing; None while there is no room for it among those that wait."""
        run = self._new_run(revision, str(firing.fire_at), firing.due_at, now)
        if firing.verdict == "missed":
            reason = f"{(now - firing.due_at) // 1000} s late; missed: {revision.spec.missed}"
            return _without_job(run, Decision.MISSED, reason)
        run = replace(run, late=firing.verdict == "late")
        if not open_runs:
            return run
        full = sum(one.waits for one in open_runs) >= MOST_WAITING
        if run.late and revision.spec.missed is Missed.RUN_ALL:
            return None if full else replace(run, waits=True)
        overlap = revision.spec.overlap
        if overlap is Overlap.CANCEL_PREVIOUS:
            return replace(run, cancels=True)
        if overlap is Overlap.QUEUE and not full:
            return replace(run, waits=True)
        reason = f"run {open_runs[0].id} has not ended; overlap: {overlap}"
        return _without_job(run, Decision.OVERLAP, reason)

    def _new_run(
        self, revision: Revision, run_id: str, due_at: int, now: int, *, manual: bool = False
    ) -> Run:
        return Run(
            id=run_id,
            schedule=revision.id,
            fire_at=int(run_id.removesuffix("m")),
            due_at=due_at,
            decided_at=now,
            decision=Decision.FIRE,
            revision=revision.number,
            manual=manual,
            job=self._submissions.id_of(revision.tenant, _key(revision.id, run_id)),
            retries=revision.spec.retries,
        )

    # --- following -----------------------------------------------------------------------------------

    def _follow(self, tenant: str, runs: RunTable, open_runs: Sequence[Run], now: int) -> list[Run]:
        """Take each open run one step further, oldest first; those that are open still."""
        still: list[Run] = []
        for run in open_runs:
            end = self._step(tenant, run, still, now)
            if end is None:
                still.append(run)
            else:
                runs.end(run, end)
                log.info("run ended", schedule=run.schedule, run=run.id, status=end.status)
        return still

    def _step(self, tenant: str, run: Run, earlier: Sequence[Run], now: int) -> RunEnd | None:
        """Take a run one step further; its end, if it has come."""
        record = self._ledger.jobs.find(run.job or "")
        if record is None:
            if run.waits and earlier:
                return None
            if run.cancels:
                self._cancel(tenant, earlier)
            return self._submit(tenant, run, now)
        if record.status.ended and self._tries_again(tenant, run, record, now):
            return None
        if not record.status.ended:
            return None
        return RunEnd(
            status=record.status.value,
            at=record.ended_at or now,
            attempts=record.attempts,
            error=record.error,
        )

    def _submit(self, tenant: str, run: Run, now: int) -> RunEnd | None:
        revision = self._book.revision(tenant, run.schedule, run.revision)
        if revision is None:
            return RunEnd(status="deleted", at=now)
        spec = revision.spec.job
        model, size = None, None
        try:
            # One that was taken in already stays as it is, whatever its references stand for by now.
            if not self._store.exists(JobNames(tenant, run.job or "").spec):
                accepted = self._acceptance.accept(tenant, spec)
                model, size = accepted.model, accepted.input_bytes
            key = _key(run.schedule, run.id)
            origin = Origin(
                schedule=run.schedule,
                run=run.id,
                date=day_of(run.fire_at, revision.spec.timezone),
                full=run.full,
            )
            self._submissions.submit(tenant, spec, model, key, input_bytes=size, origin=origin)
        except (QuotaExceeded, Unavailable) as error:
            if isinstance(error, Unavailable):
                raise
            log.info("run waits", schedule=run.schedule, run=run.id, reason=error.detail)
        except Conflict:
            return RunEnd(status="deleted", at=now)
        except TextmillError as error:
            return RunEnd(
                status="refused", at=now, error={"code": error.code, "message": error.detail}
            )
        return None

    def _cancel(self, tenant: str, earlier: Sequence[Run]) -> None:
        for run in earlier:
            record = self._ledger.jobs.find(run.job or "")
            if record is None or record.status.ended:
                continue
            try:
                self._submissions.cancel(tenant, record.id)
            except Conflict as error:
                # It is at its end by itself.
                log.info("not cancelled", run=run.id, reason=error.detail)

    def _tries_again(self, tenant: str, run: Run, record: JobRecord, now: int) -> bool:
        """Whether a run whose job has ended goes on, for the job is, or will be, tried again."""
        if record.status not in (Status.FAILED, Status.EXPIRED) or record.attempts > run.retries:
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

    def _pause_failing(self, revision: Revision, runs: RunTable) -> Revision:
        """Pause a schedule too many of whose runs failed in a row."""
        limit = revision.spec.pause_after_failures
        if limit is None or revision.paused:
            return revision
        failed: list[RunMark] = []
        for mark in runs.ends():
            if mark.fire_at < revision.counted_from or mark.status == Status.COMPLETED:
                break
            if mark.status in FAILURES:
                failed.append(mark)
            if len(failed) == limit:
                break
        if len(failed) < limit:
            return revision
        message = f"{limit} runs failed in a row; the newest is {failed[0].id}"
        log.warning("schedule paused", schedule=revision.id, reason=message)
        return self._book.pause(
            revision.tenant, revision.id, code="too_many_failures", message=message
        )


def _key(schedule_id: str, run_id: str) -> str:
    # No Idempotency-Key of a caller has a blank in it.
    return f"schedule {schedule_id} {run_id}"


def _without_job(run: Run, decision: Decision, reason: str) -> Run:
    return replace(run, decision=decision, reason=reason, job=None, retries=0)


def _decided_until(revision: Revision, runs: RunTable) -> int:
    newest = next((mark for mark in runs.marks() if not mark.manual), None)
    return revision.since if newest is None else max(revision.since, newest.fire_at)


def _next_look(
    revision: Revision, runs: RunTable, open_runs: Sequence[Run], now: int, *, stuck: bool
) -> Look:
    moments = [
        now + min(max((now - run.decided_at) // 4, _LOOK_MS), _MOST_LOOK_MS) for run in open_runs
    ]
    late_since = None
    if not revision.paused:
        late_since, deadline = _lateness(revision, runs, now)
        moments += [] if deadline is None else [deadline]
        if not stuck:
            moments += [due for _, due in revision.firings(_decided_until(revision, runs), 1)]
    return Look(again_at=min(moments, default=None), late_since=late_since)


def _lateness(revision: Revision, runs: RunTable, now: int) -> tuple[int | None, int | None]:
    """Since when a run should have completed, and when to look for that again."""
    planned = (
        mark for mark in runs.marks() if not mark.manual and mark.fire_at >= revision.counted_from
    )
    within = revision.spec.complete_within_seconds
    deadline = None
    if within is None:
        newest = list(islice(planned, 2))
        if len(newest) < 2:
            return None, None
        since, expected = newest[0].fire_at, newest[1].fire_at
    else:
        for mark in planned:
            since, expected = mark.fire_at + within * 1000, mark.fire_at
            if since <= now:
                break
            deadline = since
        else:
            return None, deadline
    for end in runs.ends():
        if end.fire_at < expected:
            break
        if end.status == Status.COMPLETED:
            return None, deadline
    return since, deadline
