"""Waits for the end of a job by long polls: what to ask when, and the loop that asks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from textmill.errors import ApiError, ConnectionFailed, JobFailed, TextmillError, WaitTimeout
from textmill.job import Job, JobState
from textmill.retry import RetryPolicy

J = TypeVar("J", bound=JobState)

#: Seconds that one call is held open by the server while nothing changes. It allows 30.
LONG_POLL_SECONDS = 25
#: Calls that one client holds open at once; more waits than that take turns.
POLLS_AT_ONCE = 400
#: Seconds between two calls: short at first, so that a quick job is quick, then longer, so that a job that
#: changes a hundred times a second is not asked for a hundred times a second.
FIRST_GAP, GAP_GROWTH, LAST_GAP = 0.02, 1.3, 0.5
#: Seconds between two tries while the server is away, on average: many that wait do not come back together.
OUTAGE_GAP = 2.0

_BEARABLE = frozenset({429, 502, 503, 504})
_RANDOM = random.SystemRandom()


class Watch(Generic[J]):
    """One wait, without the waiting: what is known so far, and what is to be done next.

    A server that does not answer is borne with for :attr:`RetryPolicy.outage_seconds`: the job does not need the
    caller, and a restart of the server should not end a night's script.
    """

    def __init__(self, job: J, *, policy: RetryPolicy, timeout: float | None) -> None:
        self.job = job
        self.etag: str | None = None
        self._policy = policy
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._gap = FIRST_GAP
        self._away_since: float | None = None

    def hold(self, longest: int) -> int:
        """Seconds for which the server may hold the next call.

        Raises:
            WaitTimeout: the time is over.
        """
        left = self.left()
        if left is None:
            return longest
        if left <= 0:
            raise WaitTimeout(
                f"job {self.job.id} is still {self.job.status} after {self._timeout:g} s; it goes on"
            )
        return min(longest, int(left))

    def heard(self, newer: J | None, etag: str | None) -> bool:
        """Take an answer. Returns whether the job is another than before."""
        self.etag = etag
        self._away_since = None
        if newer is None or newer.raw == self.job.raw:
            return False
        self.job = newer
        return True

    def pause(self) -> float:
        """Seconds to sleep before the next call, after an answer."""
        gap, self._gap = self._gap, min(LAST_GAP, self._gap * GAP_GROWTH)
        return self._at_most(gap)

    def missed(self, error: TextmillError) -> float:
        """Seconds to sleep before the next call, after one that failed.

        Raises:
            TextmillError: it is no outage, or one that has lasted too long.
        """
        now = time.monotonic()
        self._away_since = now if self._away_since is None else self._away_since
        if not _is_outage(error) or now - self._away_since >= self._policy.outage_seconds:
            raise error
        asked = getattr(error, "retry_after", None) or 0.0
        return self._at_most(
            max(min(asked, self._policy.max_retry_after), OUTAGE_GAP * _RANDOM.uniform(0.5, 1.5))
        )

    def result(self, failure: Callable[[J], JobFailed]) -> J:
        """The job as it ended.

        Raises:
            JobFailed: it did not complete; made of it by ``failure``.
        """
        if self.job.status != "completed":
            raise failure(self.job)
        return self.job

    def left(self) -> float | None:
        """Seconds until the time is over; None: there is no such time."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def _at_most(self, seconds: float) -> float:
        left = self.left()
        return max(0.0, seconds if left is None else min(seconds, left))


class Turns:
    """Counts the waits of one client, so that many share its connections fairly."""

    def __init__(self) -> None:
        self._waiting = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._waiting += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._waiting -= 1

    def longest(self) -> int:
        """Seconds for which one call may be held, so that each wait gets its turn within a long poll's time."""
        rounds = max(1.0, self._waiting / POLLS_AT_ONCE)
        return max(1, int(LONG_POLL_SECONDS / rounds))


def _is_outage(error: TextmillError) -> bool:
    if isinstance(error, ConnectionFailed):
        return not error.lasting
    return isinstance(error, ApiError) and (
        error.status in _BEARABLE or error.code == "broken_reply"
    )


class Poll(Protocol):
    """How a job is asked for; :meth:`textmill.jobs.Jobs.poll`."""

    def __call__(
        self, job_id: str, *, seconds: int, etag: str | None, within: float | None
    ) -> tuple[Job | None, str | None]: ...


class Waiter:
    """Follows jobs until they end; shared by the threads that use one client."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._turns = Turns()
        self._slots = threading.BoundedSemaphore(POLLS_AT_ONCE)

    def wait(
        self,
        job: Job,
        *,
        poll: Poll,
        notify: Callable[[Job], object] | None,
        timeout: float | None,
    ) -> Job:
        """See :meth:`textmill.Job.wait`."""
        watch = Watch(job, policy=self._policy, timeout=timeout)
        tell = notify or _nobody
        tell(job)
        with self._turns:
            while not watch.job.ended:
                try:
                    with self._slots:
                        seconds = watch.hold(self._turns.longest())
                        newer, etag = poll(
                            job.id, seconds=seconds, etag=watch.etag, within=watch.left()
                        )
                except (ConnectionFailed, ApiError) as error:
                    pause = watch.missed(error)
                else:
                    if watch.heard(newer, etag):
                        tell(watch.job)
                    pause = 0.0 if watch.job.ended else watch.pause()
                time.sleep(pause)
        return watch.result(JobFailed)


def _nobody(_job: Job) -> None:
    """Nobody watches."""
