"""The sweeper: takes back expired leases, and sends again what is missing.

It works from the ledger alone and never asks Celery anything. Two sweepers at once are harmless: every change
is a compare-and-set in Lua, and every message may come twice.
"""

from __future__ import annotations

import threading

import structlog

from jobs.errors import Unavailable
from storage.broker import Broker
from storage.ledger import Ledger

log = structlog.get_logger(__name__)


class Sweeper:
    """Sweeps again and again until it is stopped."""

    def __init__(self, ledger: Ledger, broker: Broker, seconds: float) -> None:
        self._ledger = ledger
        self._broker = broker
        self._seconds = seconds
        self._stopped = threading.Event()

    def run(self) -> None:
        """Sweep until :meth:`stop` is called. An outage is waited out."""
        while not self._stopped.is_set():
            try:
                self.sweep()
            except Unavailable as error:
                log.warning("sweep waits", reason=error.detail)
            self._stopped.wait(self._seconds)

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self._stopped.set()

    def sweep(self) -> None:
        """One round over all jobs that have not ended.

        Raises:
            Unavailable: the ledger is away.
        """
        for job_id in self._ledger.jobs.active():
            found = self._ledger.ranges.sweep(job_id)
            if found.expired:
                log.warning("leases expired", job=job_id, ranges=found.expired)
            if found.stuck == "plan":
                log.info("planning again", job=job_id)
                self._broker.plan(job_id)
            elif found.stuck == "finalize":
                self._broker.finalize(job_id)
        self._invite()

    def _invite(self) -> None:
        workers = self._ledger.workers.count()
        for _ in range(workers):
            slot = self._ledger.workers.invite(workers)
            if slot is None:
                return
            self._broker.invite(slot)
