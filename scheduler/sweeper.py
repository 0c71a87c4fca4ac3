"""The sweeper: takes back expired leases, sends again what is missing, enters again what was forgotten.

It works from the ledger and the store alone and never asks Celery anything. Two sweepers at once are harmless: every
change is a compare-and-set in Lua, and every message may come twice.
"""

from __future__ import annotations

import threading
import time

import structlog

from jobs.errors import Unavailable
from storage.broker import Broker, invite_idle
from storage.files import FileTable
from storage.intents import IntentIndex
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.replay import Replay
from storage.set_up import set_up
from storage.uploads import UploadTable

log = structlog.get_logger(__name__)

#: Seconds between two looks at what was asked for lately.
REPLAY_SECONDS = 60.0

#: How far back each of them looks, in ms: far more than Redis can forget, and than a submission takes.
REPLAY_WINDOW_MS = 10 * 60_000

#: Age at which the index of intents is pruned, in ms, and seconds between two prunings.
_KEPT_MS = 24 * 3_600_000
_PRUNE_SECONDS = 3_600.0

#: Seconds between two looks for abandoned uploads.
_UPLOADS_SECONDS = 600.0


class Sweeper:
    """Sweeps again and again until it is stopped."""

    def __init__(
        self, store: ObjectStore, ledger: Ledger, broker: Broker, *, seconds: float, lease: float
    ) -> None:
        """Args:
        seconds: between two sweeps.
        lease: life of a lease, in seconds.
        """
        self._store = store
        self._ledger = ledger
        self._broker = broker
        self._seconds = seconds
        # Longer than this nobody was watching, or Redis was away: leases may only look expired then.
        self._gap = seconds + lease / 2
        self._intents = IntentIndex(store)
        self._replay = Replay(store, ledger, broker)
        self._replay_due = 0.0
        self._prune_due = 0.0
        self._uploads = UploadTable(store, FileTable(store))
        self._uploads_due = 0.0
        self._seen_since = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        """Sweep until :meth:`stop` is called. An outage is waited out, and a lost ledger built again."""
        while not self._stopped.is_set():
            try:
                if self._ledger.epoch() is None:
                    set_up(self._store, self._ledger)
                self.sweep()
                self._look_back()
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
        watched = self._watch()
        for job_id, found in self._ledger.ranges.sweep_each(self._ledger.jobs.active()):
            if time.monotonic() - watched > self._seconds:
                watched = self._watch()  # a long round is no gap
            if found.expired:
                log.warning("leases expired", job=job_id, ranges=found.expired)
            if found.stuck == "plan":
                log.info("planning again", job=job_id)
                self._broker.plan(job_id, found.lane)
            elif found.stuck == "finalize":
                self._broker.finalize(job_id, found.lane)
        invite_idle(self._ledger, self._broker)

    def _watch(self) -> float:
        since = self._ledger.ranges.watch(self._gap)
        if since != self._seen_since:
            # Another server, or one that came back: it may have forgotten its last second.
            self._seen_since, self._replay_due = since, 0.0
        return time.monotonic()

    def _look_back(self) -> None:
        """Enter again what the ledger forgot of the last minutes; drop what is too old for that, or abandoned."""
        moment = time.monotonic()
        if moment >= self._replay_due:
            self._replay.replay(self._intents.since(self._ledger.now() - REPLAY_WINDOW_MS))
            self._replay_due = moment + REPLAY_SECONDS
        if moment >= self._prune_due:
            self._intents.prune(self._ledger.now() - _KEPT_MS)
            self._prune_due = moment + _PRUNE_SECONDS
        if moment >= self._uploads_due:
            self._uploads.sweep()
            self._uploads_due = moment + _UPLOADS_SECONDS
