"""Waits for the end of a job by long polls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from textmill.errors import ConnectionFailed, JobFailed, Unavailable, WaitTimeout
from textmill.job import Job
from textmill.retry import RetryPolicy

#: Seconds that one call is held open by the server while nothing changes. It allows 30.
LONG_POLL_SECONDS = 25
#: Seconds between two calls: short at first, so that a quick job is quick, then longer, so that a job that
#: changes a hundred times a second is not asked for a hundred times a second.
FIRST_GAP, GAP_GROWTH, LAST_GAP = 0.02, 1.3, 0.5
#: Seconds between two tries while the server is away.
OUTAGE_GAP = 2.0


class Poll(Protocol):
    """How a job is asked for; :meth:`textmill.jobs.Jobs.poll`."""

    def __call__(
        self, job_id: str, *, seconds: int, etag: str | None
    ) -> tuple[Job | None, str | None]: ...


class Waiter:
    """Follows one job after another until they end."""

    def __init__(self, poll: Poll, policy: RetryPolicy) -> None:
        self._poll = poll
        self._policy = policy

    def wait(
        self, job: Job, *, notify: Callable[[Job], object] | None, timeout: float | None
    ) -> Job:
        """See :meth:`textmill.Job.wait`.

        A server that does not answer is borne with for :attr:`RetryPolicy.outage_seconds`: the job does not need
        the caller, and a restart of the server should not end a night's script.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        tell = notify or _nobody
        etag: str | None = None
        gap = FIRST_GAP
        away_since: float | None = None
        tell(job)
        while not job.ended:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise WaitTimeout(
                    f"job {job.id} is still {job.status} after {timeout:g} s; it goes on"
                )
            seconds = LONG_POLL_SECONDS if left is None else min(LONG_POLL_SECONDS, int(left))
            try:
                newer, etag = self._poll(job.id, seconds=seconds, etag=etag)
            except (ConnectionFailed, Unavailable):
                now = time.monotonic()
                away_since = away_since or now
                if now - away_since >= self._policy.outage_seconds:
                    raise
                _sleep(OUTAGE_GAP, deadline)
                continue
            away_since = None
            if newer is not None and newer.raw != job.raw:
                job = newer
                tell(job)
            if not job.ended:
                _sleep(gap, deadline)
                gap = min(LAST_GAP, gap * GAP_GROWTH)
        if job.status != "completed":
            raise JobFailed(job)
        return job


def _sleep(seconds: float, deadline: float | None) -> None:
    left = seconds if deadline is None else deadline - time.monotonic()
    time.sleep(max(0.0, min(seconds, left)))


def _nobody(_job: Job) -> None:
    """Nobody watches."""
