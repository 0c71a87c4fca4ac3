"""Waits for the end of jobs by long polls, without blocking the event loop."""

from __future__ import annotations

import asyncio
import inspect
from typing import Protocol

from textmill.aio.job import AsyncJob, OnChange
from textmill.errors import ApiError, AsyncJobFailed, ConnectionFailed
from textmill.retry import RetryPolicy
from textmill.waiting import POLLS_AT_ONCE, Turns, Watch


class AsyncPoll(Protocol):
    """How a job is asked for; :meth:`textmill.aio.jobs.AsyncJobs.poll`."""

    async def __call__(
        self, job_id: str, *, seconds: int, etag: str | None, within: float | None
    ) -> tuple[AsyncJob | None, str | None]: ...


class AsyncWaiter:
    """Follows jobs until they end; shared by the tasks that use one client."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._turns = Turns()
        self._slots = asyncio.BoundedSemaphore(POLLS_AT_ONCE)

    async def wait(
        self, job: AsyncJob, *, poll: AsyncPoll, notify: OnChange | None, timeout: float | None
    ) -> AsyncJob:
        """See :meth:`textmill.AsyncJob.wait`."""
        watch = Watch(job, policy=self._policy, timeout=timeout)
        await _tell(notify, job)
        with self._turns:
            while not watch.job.ended:
                try:
                    async with self._slots:
                        seconds = watch.hold(self._turns.longest())
                        newer, etag = await poll(
                            job.id, seconds=seconds, etag=watch.etag, within=watch.left()
                        )
                except (ConnectionFailed, ApiError) as error:
                    pause = watch.missed(error)
                else:
                    if watch.heard(newer, etag):
                        await _tell(notify, watch.job)
                    pause = 0.0 if watch.job.ended else watch.pause()
                await asyncio.sleep(pause)
        return watch.result(AsyncJobFailed)


async def _tell(notify: OnChange | None, job: AsyncJob) -> None:
    if notify is not None:
        told = notify(job)
        if inspect.isawaitable(told):
            await told
