"""One look at a schedule: decides what is due, follows runs to their end, says when to look again.

Any number of processes may look at once and be killed anywhere: a decision is made once (:mod:`storage.runs`), jobs
have ids that follow from the firing (:mod:`storage.following`), and all else is read from the store and done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import structlog

from jobs.chains import FAILURES
from jobs.errors import Conflict
from jobs.ids import new_token
from jobs.schedules import Firing, Missed, Overlap, decide
from jobs.states import Status
from storage.acceptance import Acceptance
from storage.alerts import Alerts
from storage.following import Follower, job_key
from storage.lateness import Look, decided_until, next_look
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.retention import Retention
from storage.runs import Decision, Run, RunEnd, RunMark, RunTable
from storage.schedules import TOO_MANY_FAILURES, Revision, ScheduleBook
from storage.submission import Submissions

log = structlog.get_logger(__name__)

#: Runs of one schedule that may wait for earlier ones.
MOST_WAITING = 10


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
        self._retention = retention
        self._book = ScheduleBook(store, ledger)
        self._alerts = Alerts(store, ledger)
        self._follower = Follower(
            store, ledger, submissions, acceptance, book=self._book, alerts=self._alerts
        )

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
        open_runs = self._follower.follow(revision, runs, runs.open(), now)
        revision = self._pause_failing(revision, runs)
        self._alerts.paused(revision)
        stuck = False
        if not revision.paused:
            decided, stuck = self._decide(revision, runs, open_runs, now)
            if decided:
                open_runs = self._follower.follow(revision, runs, open_runs, now)
        look = next_look(revision, runs, open_runs, now, stuck=stuck)
        self._alerts.lateness(revision, look.late_since, now)
        if self._retention is not None and self._retention.tend(revision, runs, now):
            look = replace(look, again_at=now)
        return look

    def trigger(
        self, tenant: str, schedule_id: str, *, full: bool = False, key: str | None = None
    ) -> tuple[Run, RunEnd | None]:
        """Make a run now because somebody asks for it, also of a paused schedule and beside others that run.

        Args:
            tenant: whose it is.
            schedule_id: the schedule.
            full: compute every row, whatever earlier runs made of it.
            key: an ``Idempotency-Key``; the same one is given the same run.

        Raises:
            NotFound: the tenant has no such schedule.
            Conflict: the key came with another request before.
        """
        revision = self._book.get(tenant, schedule_id)
        runs = RunTable(self._store, tenant, schedule_id)
        now = self._ledger.now()
        # Never at a whole second, as firings by plan are.
        moment = now if now % 1000 else now + 1
        token = new_token()
        if key is not None:
            token = hashlib.sha256(key.encode()).hexdigest()
            moment, was_full = runs.asked(token, moment, full=full)
            if was_full != full:
                raise Conflict(
                    "this Idempotency-Key was used before with another body; use a new key for a new run"
                )
        run = self._by_hand(revision, runs, moment, now, full=full, token=token)
        end = runs.end_of(run.id) or self._follower.advance(revision, runs, run, [], now)
        self._ledger.schedules.enter(tenant, schedule_id, revision.number)
        return run, end

    def _by_hand(
        self,
        revision: Revision,
        runs: RunTable,
        moment: int,
        now: int,
        *,
        full: bool,
        token: str,
    ) -> Run:
        """The run that is made at a moment, or soon after where others were; or that was made for the same key."""
        while True:
            run = self._new_run(revision, f"{moment}m", moment, now, manual=True)
            run = replace(run, full=full, trigger=token)
            known = runs.get(run.id)
            if known is None and runs.decide(run):
                return run
            known = known or runs.get(run.id)
            if known is not None and known.trigger == token:
                return known
            moment += 1

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
            after=decided_until(revision, runs),
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
            job=self._job_id(revision, run_id, None),
            steps={
                step.name: self._job_id(revision, run_id, step.name) for step in revision.spec.then
            },
            retries=revision.spec.retries,
        )

    def _job_id(self, revision: Revision, run_id: str, step: str | None) -> str:
        return self._submissions.id_of(revision.tenant, job_key(revision.id, run_id, step))

    # --- failing -------------------------------------------------------------------------------------

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
            revision.tenant, revision.id, code=TOO_MANY_FAILURES, message=message
        )


def _without_job(run: Run, decision: Decision, reason: str) -> Run:
    return replace(run, decision=decision, reason=reason, job=None, steps={}, retries=0)
