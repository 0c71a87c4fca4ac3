"""A lease on a range, kept alive by a thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import structlog

from jobs.errors import Unavailable
from jobs.ranges import RowRange
from storage.ledger import Answer, Ledger

log = structlog.get_logger(__name__)

#: Longest time between two heartbeats, in seconds: within it a worker learns that its job was cancelled.
_BEAT_SECONDS = 1.0

#: Lease times for which a worker waits for a store that is away before it gives its range to somebody else.
_PATIENCE_LEASES = 3

Value = TypeVar("Value")

#: Seconds between two tries to give a range back.
_INSIST_SECONDS = 0.5


class LeaseLost(Exception):
    """The range belongs to somebody else, or may by now: what was computed must be dropped."""


class JobStopped(Exception):
    """The job was cancelled or failed: nothing more may be computed or committed for it."""


class Drain(Exception):
    """The worker must stop soon: commit what is done and give the rest back."""


def give_back(
    ledger: Ledger, job_id: str, rows: RowRange, token: str, *, death: bool = False
) -> None:
    """Give a range back as it was; where the ledger is away, as soon as it is there again.

    An outage is nobody's death, so it must not look like one. Nothing happens where the range is somebody else's.

    Args:
        death: whether a process did die over it.
    """

    def release() -> bool:
        try:
            ledger.ranges.release(job_id, rows, token, death=death)
        except Unavailable as error:
            log.warning("not given back yet", job=job_id, rows=str(rows), reason=error.detail)
            return False
        return True

    def insist() -> None:
        while not release():
            time.sleep(_INSIST_SECONDS)

    if not release():
        threading.Thread(target=insist, name=f"give back {rows}", daemon=True).start()


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
        draining: threading.Event,
        stall_seconds: float,
        drain_seconds: float,
    ) -> None:
        """Args:
        claimed: ``time.monotonic()`` from before the claim was sent.
        draining: set when the process must stop soon.
        stall_seconds: a batch that takes longer hangs; the process then ends itself, for nothing else can stop it.
        drain_seconds: time to commit what is done once the process must stop. Then the range goes back as it was, so
            that it runs elsewhere soon and the end of this process is nobody's death.
        """
        self.job_id = job_id
        self.rows = rows
        self.token = token
        self.draining = draining
        self._ledger = ledger
        self.seconds = seconds
        self._stall_seconds = stall_seconds
        self._drain_seconds = drain_seconds
        self._deadline = claimed + seconds
        self._progress = claimed
        self._beaten = claimed  # when the last heartbeat was sent
        self._asked_to_drain: float | None = None
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
        self._thread.join(timeout=self.seconds)

    @property
    def must_yield(self) -> bool:
        """Whether another job starves: what is done should be committed soon, and the rest given back."""
        return self._answer is Answer.YIELD

    @property
    def overdue(self) -> bool:
        """Whether the ledger has been silent for so long that nobody knows whose the range is.

        It ends with the ledger's next answer, which may well be that the range is still held: nothing expires while
        the ledger itself is away. Until then nothing may go out.
        """
        decided = self._answer in (Answer.LOST, Answer.STOP)
        return not decided and time.monotonic() >= self._deadline

    def check(self) -> None:
        """Return while the lease may be trusted. Also says that the work goes forward.

        Raises:
            LeaseLost: it may not.
            JobStopped: the job's outcome is decided.
        """
        self._progress = time.monotonic()
        if self._answer is Answer.STOP:
            raise JobStopped(self.job_id)
        if self._answer is Answer.LOST or self._progress >= self._deadline:
            raise LeaseLost(f"{self.job_id} {self.rows}")

    def take_in_hand(self, rows: RowRange) -> None:
        """Say which rows are computed next, before they are: should they kill the process, the others are innocent."""
        self._beat(rows)
        self.check()

    def _renew(self) -> None:
        pause = min(self.seconds / 4, _BEAT_SECONDS)
        while not self._done.wait(pause):
            if time.monotonic() - self._beaten >= pause:  # else a hand was just named
                self._beat()
            if self._answer in (Answer.STOP, Answer.LOST):
                return
            now = time.monotonic()
            if now - self._progress > self._stall_seconds:
                log.error("hangs", job=self.job_id, rows=str(self.rows))
                os._exit(1)
            if self.draining.is_set():
                self._asked_to_drain = self._asked_to_drain or now
                if now - self._asked_to_drain >= self._drain_seconds - pause:
                    give_back(self._ledger, self.job_id, self.rows, self.token)
                    self._answer = Answer.LOST
                    return

    def _beat(self, hand: RowRange | None = None) -> None:
        sent = self._beaten = time.monotonic()
        try:
            answer = self._ledger.ranges.heartbeat(self.job_id, self.rows, self.token, hand)
        except Unavailable as error:
            log.warning("heartbeat failed", job=self.job_id, reason=error.detail)
            return
        if answer in (Answer.OK, Answer.YIELD):
            self._deadline = max(self._deadline, sent + self.seconds)
        # Once asked to yield, it stays so: the ledger asks one worker, once.
        if self._answer is not Answer.YIELD or answer is not Answer.OK:
            self._answer = answer


def persist(
    lease: Lease, step: Callable[[], Value], *, patience_leases: float = _PATIENCE_LEASES
) -> Value:
    """Do a step, again and again through an outage of store or ledger, while the lease holds.

    Args:
        patience_leases: lease times after which to give up.

    Raises:
        LeaseLost: the outage outlived the lease.
        JobStopped: the job ended meanwhile.
        Unavailable: it lasts too long; perhaps only this worker is cut off, and another can do the work.
    """
    pause, begun = 0.1, time.monotonic()
    while True:
        lease.check()
        try:
            return step()
        except Unavailable as error:
            if time.monotonic() - begun > lease.seconds * patience_leases:
                raise
            log.warning("waiting", job=lease.job_id, reason=error.detail)
            time.sleep(pause)
            pause = min(pause * 2, 2.0)
