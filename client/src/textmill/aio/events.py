"""Follows jobs as :mod:`textmill.events` does, without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx

from textmill.aio.transport import AsyncTransport
from textmill.errors import ConnectionFailed, Unavailable
from textmill.events import Event, Following, Lines


async def follow(
    transport: AsyncTransport, job_id: str, *, wait: bool = True, after: str | None = None
) -> AsyncIterator[Event]:
    """See :meth:`textmill.AsyncJob.events`."""
    reader = Following(job_id, transport.policy, wait=wait, after=after)
    while True:
        try:
            async with transport.stream(reader.request()) as response:
                reader.opened(response.status_code)
                gathered = Lines()
                async for line in response.aiter_lines():
                    event = gathered.take(line)
                    if event is not None:
                        reader.saw(event)
                        yield event
            pause = reader.closed()
            if pause is None:
                return
        except (httpx.TransportError, ConnectionFailed, Unavailable) as error:
            pause = reader.broke()
            if pause is None:
                if isinstance(error, httpx.RequestError):
                    raise transport.failure(error) from error
                raise
        await asyncio.sleep(pause)
