"""Keeping accounts: usage and audit log out of the ledger into the store, and what tenants have in the store measured.

One scheduler at a time does so, under a lock that lapses; apart from the sweeper, for listing a large tenant takes
long.
"""

from __future__ import annotations

import threading
import time

import structlog

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.names import TenantNames
from storage.audit import AuditLog
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.tenants import tenants
from storage.usage import UsageBook

log = structlog.get_logger(__name__)

#: Seconds between two looks at what waits to be put into the store.
KEEP_SECONDS = 10.0

#: Seconds between two measurements of what all tenants have in the store.
MEASURE_SECONDS = 15 * 60.0

#: Objects listed between two renewals of the lock.
_LISTED = 10_000


class Accountant:
    """Keeps the accounts until it is stopped."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._audit = AuditLog(store, ledger)
        self._usage = UsageBook(store, ledger)
        self._token = new_token()
        self._measure_due = 0.0
        self._epoch: str | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        """Keep them until :meth:`stop` is called. An outage is waited out."""
        while not self._stopped.is_set():
            try:
                self.keep()
            except Unavailable as error:
                log.warning("accounts wait", reason=error.detail)
            self._stopped.wait(KEEP_SECONDS)

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self._stopped.set()

    def keep(self) -> None:
        """One round, unless somebody else is at it.

        Raises:
            Unavailable: store or ledger are away, or the ledger is being built.
        """
        self._ledger.require_epoch()
        epoch = self._ledger.epoch()
        if epoch != self._epoch:
            # A ledger that was built again has not measured anything.
            self._epoch, self._measure_due = epoch, 0.0
        self._ledger.accounts.publish_defaults()
        if not self._ledger.accounts.lock(self._token):
            return
        self._audit.move()
        self._usage.save()
        moment = time.monotonic()
        if moment >= self._measure_due:
            self.measure()
            self._measure_due = moment + MEASURE_SECONDS

    def measure(self) -> None:
        """List what all tenants have in the store."""
        for tenant in tenants(self._store):
            if self._stopped.is_set():
                return
            names, size = TenantNames(tenant), 0
            self._ledger.accounts.measured(tenant)
            for folder in (names.files, names.jobs, names.schedules):
                for number, found in enumerate(self._store.list(folder)):
                    size += found.size
                    if number % _LISTED == 0 and not self._ledger.accounts.lock(self._token):
                        return  # somebody else has taken over
            self._ledger.accounts.measured(tenant, size)
