"""Sends calls as :mod:`textmill.transport` does, without blocking the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx

from textmill.call import Ask, Call, Reply
from textmill.config import Config
from textmill.errors import ApiError, ConnectionFailed
from textmill.exchange import Exchange, Tries, error_body, is_good, refusal
from textmill.retry import RetryPolicy
from textmill.transport import Body

_T = TypeVar("_T")


class AsyncTransport:
    """A connection pool to one server, for one event loop."""

    def __init__(self, config: Config, *, timeout: float, policy: RetryPolicy) -> None:
        """
        Args:
            timeout: seconds without any byte from the server after which a try has failed.
        """
        self.url = config.url
        self.policy = policy
        self._exchange = Exchange(config, timeout=timeout, policy=policy)
        self._client = httpx.AsyncClient(**self._exchange.client_options())

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        await self._client.aclose()

    async def ask(self, asked: Ask[_T]) -> _T:
        """Send a call and read what it answers; see :meth:`send` for what is raised."""
        return asked.read(await self.send(asked.call))

    async def send(self, call: Call, body: Body | None = None) -> Reply:
        """Send a call and read its whole JSON answer.

        Raises:
            ApiError: the server answered with an error.
            ConnectionFailed: there was no answer.
        """

        async def once() -> Reply:
            response = await self._open(call, body)
            try:
                gathered = self._exchange.reply_body(response)
                async for chunk in response.aiter_raw():
                    if not gathered.take(chunk):
                        break
            finally:
                await response.aclose()
            return self._exchange.reply(response, gathered)

        return await self._with_retries(call, once, body)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[httpx.Response]:
        """Send a call and hand out the answer with its body unread.

        Failures while the body is read are httpx's own; whoever reads decides about them.
        """
        response = await self._with_retries(call, lambda: self._open(call, None), None)
        try:
            yield response
        finally:
            await response.aclose()

    def failure(self, error: httpx.RequestError) -> ConnectionFailed:
        """A broken connection as this client's error."""
        return self._exchange.failure(error)

    async def _with_retries(
        self, call: Call, once: Callable[[], Awaitable[_T]], body: Body | None
    ) -> _T:
        tries = Tries(self._exchange, call, streamed=body is not None)
        while True:
            try:
                return await once()
            except (httpx.RequestError, ApiError) as error:
                pause = tries.failed(error, can_restart=body is None or body.can_start)
            await asyncio.sleep(pause)

    async def _open(self, call: Call, body: Body | None) -> httpx.Response:
        """Send once; the answer is a success or 304, and its body is unread."""
        request = self._client.build_request(
            **self._exchange.request_options(call, None if body is None else body.size),
            content=None if body is None else _chunks(body),
        )
        response = await self._client.send(request, stream=True)
        if is_good(response):
            return response
        gathered = None
        try:
            # Its status says enough, should its body break off.
            with contextlib.suppress(httpx.RequestError):
                gathered = error_body(response)
                async for chunk in response.aiter_raw():
                    if not gathered.take(chunk):
                        break
        finally:
            await response.aclose()
        raise refusal(response, gathered)


async def _chunks(body: Body) -> AsyncIterator[bytes]:
    """A body from its beginning, read in other threads: disks and pipes may take their time."""
    chunks = body.chunks()
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
