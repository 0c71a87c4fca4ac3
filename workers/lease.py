"""A lease on a range, kept alive by a thread."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import structlog

from jobs.errors import Unavailable
from jobs.ranges import RowRange
from storage.ledger import Answer, Ledger

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """The range belongs to somebody else, or may by now: what was computed must be dropped."""


class JobStopped(Exception):
    """The job was cancelled or failed: nothing more may be computed or committed for it."""


class Drain(Exception):
    """The worker must stop soon: commit what is done and give the rest back."""


class Lease:
    """Renews a lease in the background, and knows when it can no longer be trusted.

    The worker's own monotonic clock decides as well as the ledger's answers: once the lease time has passed since
    the last acknowledged heartbeat was *sent*, somebody else may hold the range.
    """

    def __init__(
        self,
        ledger: Ledger,
        job_id: str,
        rows: RowRange,
        token: str,
        *,
        seconds: float,
        claimed: float,
    ) -> None:
        """Args:
        claimed: ``time.monotonic()`` from before the claim was sent.
        """
        self.job_id = job_id
        self.rows = rows
        self.token = token
        self._ledger = ledger
        self._seconds = seconds
        self._deadline = claimed + seconds
        self._answer = Answer.OK
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease {rows}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join(timeout=self._seconds)

    def check(self) -> None:
        """Return while the lease may be trusted.

        Raises:
            LeaseLost: it may not.
            JobStopped: the job's outcome is decided.
        """
        if self._answer is Answer.STOP:
            raise JobStopped(self.job_id)
        if self._answer is Answer.LOST or time.monotonic() >= self._deadline:
            raise LeaseLost(f"{self.job_id} {self.rows}")

    def _renew(self) -> None:
        while not self._done.wait(self._seconds / 4):
            sent = time.monotonic()
            try:
                answer = self._ledger.ranges.heartbeat(self.job_id, self.rows, self.token)
            except Unavailable as error:
                log.warning("heartbeat failed", job=self.job_id, reason=error.detail)
                continue
            if answer is not Answer.OK:
                self._answer = answer
                return
            self._deadline = sent + self._seconds
