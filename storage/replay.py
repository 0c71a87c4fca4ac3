"""Entering again what the ledger forgot of the last minutes."""

from __future__ import annotations

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
from storage.submission import newest_retry, remove_objects

log = structlog.get_logger(__name__)


class Replay:
    """Compares intents with the ledger. Harmless where nothing was forgotten, and when done by two at once."""

    def __init__(self, store: ObjectStore, ledger: Ledger, broker: Broker) -> None:
        self._store = store
        self._ledger = ledger
        self._broker = broker
        self._keys = KeyRing(store, ledger)

    def replay(self, intent: Intent) -> bool:
        """Make the ledger follow an intent; whether it had not.

        Raises:
            Unavailable: store or ledger are away.
        """
        match intent.act:
            case Act.SUBMIT:
                done = self._submit(intent)
            case Act.CANCEL:
                done = self._cancel(intent)
            case Act.RETRY:
                done = self._retry(intent)
            case Act.DELETE:
                done = self._delete(intent)
            case Act.KEY:
                done = self._keys.refresh(intent.tenant, intent.subject)
        if done:
            log.warning("entered again", act=intent.act.value, subject=intent.subject)
        return done

    def _submit(self, intent: Intent) -> bool:
        if self._ledger.jobs.known([intent.subject]):
            return False
        status = restore_job(self._store, self._ledger, intent.tenant, intent.subject, new_token())
        return status is not None

    def _cancel(self, intent: Intent) -> bool:
        record = self._ledger.jobs.find(intent.subject)
        if record is None or record.status not in (Status.VALIDATING, Status.IN_PROGRESS):
            return False
        names = JobNames(intent.tenant, intent.subject, record.attempts)
        if not self._store.exists(names.cancel):
            return False
        decided, _ = self._ledger.jobs.cancel(intent.subject)
        if decided:
            self._broker.finalize(intent.subject, record.lane)
        return decided

    def _retry(self, intent: Intent) -> bool:
        record = self._ledger.jobs.find(intent.subject)
        if record is None or not record.status.ended:
            return False
        asked = newest_retry(self._store, JobNames(intent.tenant, intent.subject))
        if asked is None or asked.generation <= record.attempts:
            return False
        status = restore_job(self._store, self._ledger, intent.tenant, intent.subject, new_token())
        return status is not None

    def _delete(self, intent: Intent) -> bool:
        names = JobNames(intent.tenant, intent.subject)
        if not self._store.exists(TenantNames(intent.tenant).deleted(intent.subject)):
            return False
        self._store.delete(names.spec)
        known = bool(self._ledger.jobs.known([intent.subject]))
        forgotten = known and self._ledger.jobs.forget(intent.subject)
        left = remove_objects(self._store, names)
        return forgotten or left > 0
