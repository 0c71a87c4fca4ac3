"""``tm.schedules``, to be awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from textmill import schedules
from textmill.aio.paging import every
from textmill.aio.transport import AsyncTransport
from textmill.deliveries import Delivery
from textmill.paging import MAX_PAGE, Page
from textmill.schedules import Run, Schedule

if TYPE_CHECKING:
    from textmill.aio.job import AsyncJob
    from textmill.aio.jobs import AsyncJobs


class AsyncSchedules:
    """Jobs that are submitted by the clock; see :class:`textmill.schedules.Schedules`."""

    def __init__(self, transport: AsyncTransport, jobs: AsyncJobs) -> None:
        self._transport = transport
        self._jobs = jobs

    async def create(
        self, *, job: Mapping[str, Any], idempotency_key: str | None = None, **fields: Any
    ) -> Schedule:
        """Make a schedule."""
        return await self._transport.ask(
            schedules.create_schedule({**fields, "job": job}, idempotency_key)
        )

    async def get(self, schedule_id: str) -> Schedule:
        """One schedule as it is now."""
        return await self._transport.ask(schedules.get_schedule(schedule_id))

    async def page(self, *, after: str | None = None, limit: int | None = None) -> Page[Schedule]:
        """One page of schedules."""
        return await self._transport.ask(schedules.page_of_schedules(after=after, limit=limit))

    def list(self) -> AsyncIterator[Schedule]:
        """All schedules."""
        return every(lambda after: self.page(after=after, limit=MAX_PAGE))

    async def change(self, schedule_id: str, **fields: Any) -> Schedule:
        """Change a schedule: these fields are replaced, the others stay."""
        return await self._transport.ask(schedules.change_schedule(schedule_id, fields))

    async def pause(self, schedule_id: str) -> Schedule:
        """Let it fire no more until it is resumed."""
        return await self._transport.ask(schedules.pause_schedule(schedule_id))

    async def resume(self, schedule_id: str) -> Schedule:
        """Let it fire again."""
        return await self._transport.ask(schedules.resume_schedule(schedule_id))

    async def trigger(
        self, schedule_id: str, *, full: bool = False, idempotency_key: str | None = None
    ) -> Run:
        """Make a run now, also of a paused schedule; the same key always gives the same run."""
        return await self._transport.ask(
            schedules.trigger_schedule(schedule_id, idempotency_key, full=full)
        )

    async def preview(
        self, schedule_id: str, *, full: bool = False, idempotency_key: str | None = None
    ) -> AsyncJob:
        """Have it counted what a run would process now; see :meth:`textmill.schedules.Schedules.preview`."""
        request = schedules.preview_schedule(
            self._jobs.adopt, schedule_id, idempotency_key, full=full
        )
        return await self._transport.ask(request)

    async def wait(self, run: Run, *, timeout: float | None = None) -> Run:
        """Wait until a run has ended with all its jobs; see :meth:`textmill.schedules.Schedules.wait`."""
        give_up = None if timeout is None else time.monotonic() + timeout
        while run.status == schedules.OPEN:
            if give_up is not None and time.monotonic() >= give_up:
                raise schedules.late(run)
            await asyncio.sleep(schedules.POLL_SECONDS)
            async for one in self.runs(run.schedule):
                if one.id == run.id:
                    run = one
                    break
        return run

    async def page_of_deliveries(
        self, schedule_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Page[Delivery]:
        """One page of what its webhook was told."""
        return await self._transport.ask(
            schedules.page_of_deliveries(schedule_id, after=after, limit=limit)
        )

    def deliveries(self, schedule_id: str) -> AsyncIterator[Delivery]:
        """What its webhook was told, and what came of it."""
        return every(
            lambda after: self.page_of_deliveries(schedule_id, after=after, limit=MAX_PAGE)
        )

    async def resend(self, schedule_id: str, delivery_id: str) -> Delivery:
        """Tell its webhook again: the same event under the same id."""
        return await self._transport.ask(schedules.resend_delivery(schedule_id, delivery_id))

    async def delete(self, schedule_id: str) -> None:
        """Delete it with its history. Its jobs stay."""
        await self._transport.send(schedules.delete_schedule(schedule_id))

    async def page_of_runs(
        self, schedule_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Page[Run]:
        """One page of its runs, newest first."""
        return await self._transport.ask(
            schedules.page_of_runs(schedule_id, after=after, limit=limit)
        )

    def runs(self, schedule_id: str) -> AsyncIterator[Run]:
        """What became of each firing, newest first; those that were left out too."""
        return every(lambda after: self.page_of_runs(schedule_id, after=after, limit=MAX_PAGE))
