"""Fires schedules: takes the one whose turn came, looks at it, and says when its turn comes again.

Any number of schedulers may do so. A look has a lease, so that as a rule only one is at a schedule at a time; nothing
depends on it, for what a look does may be done twice (:mod:`storage.firing`). Time is Redis's.
"""

from __future__ import annotations

import threading

import structlog

from jobs.errors import Unavailable
from jobs.ids import new_token
from storage.firing import Firings
from storage.ledger import Ledger

log = structlog.get_logger(__name__)

#: Seconds between two looks at whose turn it is while it is nobody's.
_IDLE_SECONDS = 0.5

#: Time after which somebody else takes over a schedule, in ms.
LEASE_MS = 30_000

#: Schedules looked at at once: each look is mostly waiting for the store.
_THREADS = 4


class Firer:
    """Fires again and again until it is stopped."""

    def __init__(self, ledger: Ledger, firings: Firings) -> None:
        self._ledger = ledger
        self._firings = firings
        self._stopped = threading.Event()

    def run(self) -> None:
        """Fire until :meth:`stop` is called. An outage is waited out."""
        threads = [
            threading.Thread(target=self._work, name=f"schedules-{number}", daemon=True)
            for number in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.is_set():
            found = False
            try:
                found = self.fire()
            except Unavailable as error:
                log.warning("schedules wait", reason=error.detail)
            except Exception:
                # Whatever it is, it is that schedule's: its lease lapses, and the others go on.
                log.exception("a look at a schedule broke")
            if not found:
                self._stopped.wait(_IDLE_SECONDS)

    def fire(self) -> bool:
        """Look at the schedule whose turn came first; whether there was one.

        Raises:
            Unavailable: store or ledger are away. The lease lapses, and somebody looks again.
        """
        due = self._ledger.schedules.claim(new_token(), lease_ms=LEASE_MS)
        if due is None:
            return False
        look = self._firings.look(due.tenant, due.id)
        if look is None:
            self._ledger.schedules.forget(due.tenant, due.id)
        else:
            self._ledger.schedules.settle(due, look.again_at, late_since=look.late_since)
        return True
