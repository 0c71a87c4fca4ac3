"""Waiting for changes of jobs: one subscription for a whole process, however many wait."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from jobs.errors import Unavailable
from storage.ledger import EventTable

log = structlog.get_logger(__name__)

#: Seconds after which somebody who waits looks for himself: a hint may have been lost. Drawn from this range, so that
#: a thousand who came together do not all look together.
RECHECK_SECONDS = (3.0, 6.0)

#: Seconds until the subscription is tried again.
_AGAIN_SECONDS = 1.0


class Watch:
    """One caller's look at one job."""

    def __init__(self, hub: ChangeHub, job_id: str) -> None:
        self._hub = hub
        self._job_id = job_id
        self._bell = hub.bell(job_id)

    def wait(self, seconds: float) -> None:
        """Return when the job may have changed since this watch began or this was last called; at the latest after so
        many seconds or when it is time to look all the same."""
        longest = random.uniform(*RECHECK_SECONDS)  # noqa: S311  # spreads load, hides nothing
        self._bell.wait(max(0.0, min(seconds, longest)))
        self._bell = self._hub.bell(self._job_id)


class ChangeHub:
    """Wakes those who wait when their job changes, or when the process is about to end.

    Args:
        events: where hints come from.
        most: how many may wait at once for jobs of one tenant.
    """

    def __init__(self, events: EventTable, most: int) -> None:
        self._events = events
        self._most = most
        self._lock = threading.Lock()
        self._bells: dict[str, threading.Event] = {}
        self._watching: dict[str, int] = {}
        self._by_tenant: dict[str, int] = {}
        self._listener: threading.Thread | None = None
        self.closed = False
        #: Told of each watch that begins (1) and ends (-1).
        self.moved: Callable[[int], None] = _nothing

    @contextmanager
    def watch(self, tenant: str, job_id: str) -> Iterator[Watch | None]:
        """Notice changes of a job from now on; None where this tenant has too many watches, or the process ends.

        Look at the job after this has begun, not before: nothing is missed then.
        """
        with self._lock:
            taken = not self.closed and self._by_tenant.get(tenant, 0) < self._most
            if taken:
                _count(self._by_tenant, tenant, 1)
                _count(self._watching, job_id, 1)
                self._listen()
        if not taken:
            yield None
            return
        self.moved(1)
        try:
            yield Watch(self, job_id)
        finally:
            self.moved(-1)
            with self._lock:
                _count(self._by_tenant, tenant, -1)
                if _count(self._watching, job_id, -1) == 0:
                    self._bells.pop(job_id, None)

    def bell(self, job_id: str) -> threading.Event:
        """What rings at the next change of a job."""
        with self._lock:
            bell = self._bells.setdefault(job_id, threading.Event())
            if self.closed:
                bell.set()
            return bell

    def close(self) -> None:
        """Wake all, and keep nobody waiting any more."""
        with self._lock:
            self.closed = True
        self._ring_all()

    def _listen(self) -> None:
        """Begin to listen, when first somebody waits: a process that was forked since has no threads of before."""
        if self._listener is None:
            self._listener = threading.Thread(target=self._follow, name="changes", daemon=True)
            self._listener.start()

    def _follow(self) -> None:
        while not self.closed:
            try:
                self._hear(self._events.changes())
            except Unavailable as error:
                log.info("changes cannot be heard", reason=error.detail)
            except Exception:
                # Without it those who wait only look less often.
                log.exception("changes cannot be heard")
            time.sleep(_AGAIN_SECONDS)

    def _hear(self, changes: Iterator[str | None]) -> None:
        # What changed while nobody listened is seen by looking.
        next(changes)
        self._ring_all()
        for job_id in changes:
            if self.closed:
                return
            if job_id is not None:
                self._ring(job_id)

    def _ring_all(self) -> None:
        with self._lock:
            bells, self._bells = list(self._bells.values()), {}
        for bell in bells:
            bell.set()

    def _ring(self, job_id: str) -> None:
        with self._lock:
            bell = self._bells.pop(job_id, None)
        if bell is not None:
            bell.set()


def _nothing(_change: int) -> None:
    """Nobody counts."""


def _count(counts: dict[str, int], name: str, change: int) -> int:
    now = counts.get(name, 0) + change
    if now:
        counts[name] = now
    else:
        del counts[name]
    return now
