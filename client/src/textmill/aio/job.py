"""A job of the asynchronous client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill.job import JobState, job_fields
from textmill.job_calls import OutputFormat

if TYPE_CHECKING:
    from textmill.aio.jobs import AsyncJobs
    from textmill.events import Event

#: Told of a job after each change; what it returns is awaited where it can be.
OnChange = Callable[["AsyncJob"], "Awaitable[object] | object"]


@dataclass(frozen=True, kw_only=True)
class AsyncJob(JobState):
    """One job as the server described it. Never changes: :meth:`refresh` and :meth:`wait` give a newer one."""

    _jobs: AsyncJobs = field(repr=False, compare=False)

    async def refresh(self) -> AsyncJob:
        """The job as it is now."""
        return await self._jobs.get(self.id)

    async def wait(
        self, *, progress: bool | OnChange = False, timeout: float | None = None
    ) -> AsyncJob:
        """Wait until the job has ended, and return it as it ended. Cancelling the wait leaves the job alone.

        Args:
            progress: True shows progress on stderr; a function, sync or async, is called with the job after each
                change.
            timeout: seconds to wait at most.

        Raises:
            AsyncJobFailed: a :class:`textmill.JobFailed`: it ended as failed, cancelled or expired.
            WaitTimeout: it has not ended in time. The job goes on.
        """
        return await self._jobs.wait(self, progress=progress, timeout=timeout)

    def events(self, *, follow: bool = True, after: str | None = None) -> AsyncIterator[Event]:
        """What happens to the job, each event once, for ``async for``; see :meth:`textmill.Job.events`."""
        return self._jobs.events(self.id, follow=follow, after=after)

    async def cancel(self) -> AsyncJob:
        """Cancel the job; rows done so far are kept."""
        return await self._jobs.cancel(self.id)

    async def retry(self) -> AsyncJob:
        """Run again what failed in this ended job, only that; see :meth:`textmill.Job.retry`."""
        return await self._jobs.retry(self.id)

    async def delete(self) -> None:
        """Delete this ended job with its results and all else that was kept of it."""
        await self._jobs.delete(self.id)

    def results(self, *, partial: bool = False) -> AsyncIterator[dict[str, Any]]:
        """The result rows in input order, for ``async for``; see :meth:`textmill.Job.results`."""
        return self._jobs.rows(self.id, "results", partial=partial)

    def errors(self, *, partial: bool = False) -> AsyncIterator[dict[str, Any]]:
        """The rows that failed, for ``async for``; see :meth:`textmill.Job.errors`."""
        return self._jobs.rows(self.id, "errors", partial=partial)

    async def download(
        self,
        path: str | Path,
        *,
        partial: bool = False,
        format: OutputFormat | None = None,  # noqa: A002 - the API's own name
    ) -> Path:
        """Save the results. The file appears whole or not at all; see :meth:`textmill.Job.download`."""
        return await self._jobs.download(self.id, path, partial=partial, format=format)


def to_async_job(raw: Mapping[str, Any], jobs: AsyncJobs) -> AsyncJob:
    """A job from the API's object. Fields that this client does not know stay in ``raw``."""
    return AsyncJob(**job_fields(raw), _jobs=jobs)
