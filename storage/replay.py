"""Entering again what the ledger forgot of the last minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import structlog

from jobs.ids import new_token
from jobs.names import JobNames, TenantNames
from jobs.states import Status
from storage.broker import Broker
from storage.intents import Act, Intent
from storage.keys import KeyRing
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.restore import restore_job
from storage.schedules import ScheduleBook
from storage.submission import newest_retry, remove_objects
from storage.tenants import TenantTable
from storage.webhooks import Resending

log = structlog.get_logger(__name__)

#: Intents compared with the ledger in one call.
_BATCH = 200


class Replay:
    """Compares intents with the ledger. Harmless where nothing was forgotten, and when done by two at once."""

    def __init__(self, store: ObjectStore, ledger: Ledger, broker: Broker) -> None:
        self._store = store
        self._ledger = ledger
        self._broker = broker
        self._keys = KeyRing(store, ledger)
        self._resending = Resending(store, ledger)
        self._tenants = TenantTable(store, ledger)
        self._schedules = ScheduleBook(store, ledger)

    def replay(self, intents: Iterator[Intent]) -> int:
        """Make the ledger follow intents, in order; how many it had not followed.

        Raises:
            Unavailable: store or ledger are away.
        """
        count = 0
        while batch := list(islice(intents, _BATCH)):
            known = self._ledger.jobs.known([intent.subject for intent in batch])
            for intent in batch:
                if intent.act is Act.SUBMIT and intent.subject in known:
                    continue
                if self._follow(intent):
                    log.warning("entered again", act=intent.act.value, subject=intent.subject)
                    count += 1
        return count

    def _follow(self, intent: Intent) -> bool:
        """Make the ledger follow one intent; whether it had not."""
        followers: Mapping[Act, Callable[[Intent], bool]] = {
            Act.SUBMIT: self._submit,
            Act.CANCEL: self._cancel,
            Act.RETRY: self._retry,
            Act.DELETE: self._delete,
            Act.KEY: lambda one: self._keys.refresh(one.tenant, one.subject),
            Act.RESEND: lambda one: self._resending.follow(one.tenant, one.subject),
            Act.SCHEDULE: lambda one: self._schedules.refresh(one.tenant, one.subject),
            Act.TENANT: lambda one: self._tenants.refresh(one.tenant),
        }
        return followers[intent.act](intent)

    def _submit(self, intent: Intent) -> bool:
        if self._ledger.jobs.known([intent.subject]):
            return False
        return self._restore(intent) is not None

    def _cancel(self, intent: Intent) -> bool:
        record = self._ledger.jobs.find(intent.subject)
        if record is None or record.status not in (Status.VALIDATING, Status.IN_PROGRESS):
            return False
        names = JobNames(intent.tenant, intent.subject, record.attempts)
        if not self._store.exists(names.cancel):
            return False
        # Not only the cancel may be forgotten, also what was committed just before it: the store knows both.
        status = self._restore(intent)
        if status is Status.CANCELLING:
            self._broker.finalize(intent.subject, record.lane)
        return status is not None

    def _retry(self, intent: Intent) -> bool:
        record = self._ledger.jobs.find(intent.subject)
        if record is None or not record.status.ended:
            return False
        asked = newest_retry(self._store, JobNames(intent.tenant, intent.subject))
        if asked is None or asked.generation <= record.attempts:
            return False
        return self._restore(intent) is not None

    def _restore(self, intent: Intent) -> Status | None:
        return restore_job(self._store, self._ledger, intent.tenant, intent.subject, new_token())

    def _delete(self, intent: Intent) -> bool:
        names = JobNames(intent.tenant, intent.subject)
        if not self._store.exists(TenantNames(intent.tenant).deleted(intent.subject)):
            return False
        self._store.delete(names.spec)
        known = bool(self._ledger.jobs.known([intent.subject]))
        forgotten = known and self._ledger.jobs.forget(intent.subject)
        left = remove_objects(self._store, names)
        return forgotten or left.objects > 0
