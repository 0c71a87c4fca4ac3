"""What the webhook of a schedule is told: that it is late, no longer so, paused by failures, or that a run failed.

An event is in the store before the ledger knows of it, under an id that follows from what happened: whoever looks at a
schedule may tell it again, and it stays one event.
"""

from __future__ import annotations

from typing import Any

from jobs.record import rfc3339
from jobs.schedule_names import ScheduleNames
from jobs.webhooks import schedule_event, schedule_event_id
from storage.intents import Act, Intent, IntentIndex
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.runs import Run, RunEnd, public_run
from storage.schedules import TOO_MANY_FAILURES, Revision
from storage.submission import object_or_none
from storage.webhooks import Delivery, DeliveryTable


class Alerts:
    """Tells of all schedules that have a webhook."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._table = DeliveryTable(store)
        self._intents = IntentIndex(store)

    def lateness(self, schedule: Revision, late_since: int | None, now: int) -> None:
        """Tell once that a schedule is late, and once that it is so no longer.

        Args:
            schedule: its newest revision.
            late_since: since when a run should have completed, in ms; None: none is late.
            now: ms.
        """
        if schedule.spec.webhook is None:
            return
        name = ScheduleNames(schedule.tenant, schedule.id).late
        told = object_or_none(self._store, name)
        if told is None and late_since is not None:
            self._store.put_once(name, b"%d" % late_since)
            told = self._store.get(name)
        if told is None:
            return
        # Runs that are late as well before one completes are part of the same lateness.
        since = int(told)
        data = {"late_since": rfc3339(since)}
        if late_since is not None:
            self._tell(schedule, "late", str(since), since, data)
            return
        if schedule.paused is None:
            self._tell(schedule, "recovered", str(since), now, data)
        self._store.delete(name)

    def paused(self, schedule: Revision) -> None:
        """Tell that failures paused a schedule, if they did."""
        reason = schedule.paused
        if reason is not None and reason["code"] == TOO_MANY_FAILURES:
            data = {"paused": {**reason, "at": rfc3339(reason["at"])}}
            self._tell(schedule, "paused", str(reason["at"]), reason["at"], data)

    def failed(self, schedule: Revision, run: Run, end: RunEnd) -> None:
        """Tell that a run failed for good."""
        self._tell(schedule, "run_failed", run.id, end.at, {"run": public_run(run, end)})

    def _tell(self, schedule: Revision, what: str, of: str, at: int, data: dict[str, Any]) -> None:
        if schedule.spec.webhook is None:
            return
        about = {"id": schedule.id, "name": schedule.spec.name}
        new = Delivery(
            id=schedule_event_id(schedule.id, what, of),
            tenant=schedule.tenant,
            schedule=schedule.id,
            event=schedule_event(what, at, {"schedule": about, **data}),
            created_at=at,
            since=self._ledger.now(),
            next_attempt_at=at,
        )
        pending, fresh = self._table.enter(new)
        if not pending:
            return
        if fresh:
            # The ledger may forget its last second, and nobody may look at the schedule again.
            now = self._ledger.now()
            self._intents.record(Intent(at=now, tenant=new.tenant, subject=new.id, act=Act.RESEND))
        self._ledger.webhooks.enter(new.tenant, new.id)
