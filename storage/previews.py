"""Previews: what a run of a schedule would process now, counted by a job that computes nothing."""

from __future__ import annotations

from jobs.origin import Origin
from jobs.record import JobRecord
from jobs.timing import day_of
from storage.acceptance import Acceptance
from storage.ledger import Ledger
from storage.schedules import ScheduleBook
from storage.submission import Submissions


class Previews:
    """Submits them."""

    def __init__(
        self, book: ScheduleBook, ledger: Ledger, submissions: Submissions, acceptance: Acceptance
    ) -> None:
        self._book = book
        self._ledger = ledger
        self._submissions = submissions
        self._acceptance = acceptance

    def begin(
        self, tenant: str, schedule_id: str, *, full: bool, key: str | None = None
    ) -> JobRecord:
        """Have the input of a schedule's job planned, and nothing of it computed; the job that does so.

        It ends with an ``estimate``, and an incremental schedule's with its ``corpus``. Nobody is told of its end,
        nothing is written to where the schedule's output goes, and no later run goes by it.

        Args:
            tenant: whose it is.
            schedule_id: the schedule.
            full: of a run that computes every row.
            key: the same key gives the same preview.

        Raises:
            NotFound: the tenant has no such schedule.
            InvalidRequest: its job could not be submitted now.
            QuotaExceeded: the tenant has no room for another job.
            Conflict: the key came with another request before.
        """
        revision = self._book.get(tenant, schedule_id)
        spec = revision.spec.job.model_copy(
            update={
                "name": f"preview of {revision.spec.name or revision.id}"[:200],
                "output": None,
                "webhook": None,
            }
        )
        accepted = self._acceptance.accept(tenant, spec)
        now = self._ledger.now()
        origin = Origin(
            schedule=revision.id,
            run=f"{now}m",
            date=day_of(now, revision.spec.timezone),
            full=full,
            incremental=revision.spec.incremental,
            preview=True,
        )
        # No Idempotency-Key of a caller has a blank in it.
        own = None if key is None else f"preview {revision.id} {full} {key}"
        record, _ = self._submissions.submit(
            tenant, spec, accepted.model, own, input_bytes=accepted.input_bytes, origin=origin
        )
        return record
