"""The sync and the async client behind one face, so that one test is of both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, Self

from tests.unit.client.scripted import KEY
from textmill import AsyncTextmill, RetryPolicy, Textmill

#: Pauses too short to be felt.
QUICK = RetryPolicy(attempts=4, base_seconds=0.01, max_seconds=0.02, outage_seconds=5)


class Either:
    """One of the two clients; the async one runs in an event loop of its own.

    Its client is typed as Any on purpose: the same expression asks both.
    """

    def __init__(self, url: str, *, is_async: bool) -> None:
        self._url = url
        self._is_async = is_async
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def __call__(self, ask: Callable[[Any], Any], *, timeout: float = 5, **policy: Any) -> Any:
        """What ``ask`` makes of a client; what it iterates over comes as a list.

        Args:
            policy: fields of :class:`RetryPolicy` that are to be others.
        """
        options: dict[str, Any] = {"timeout": timeout, "retry": replace(QUICK, **policy)}
        if self._is_async:
            return self._runner.run(self._awaited(ask, options))
        with Textmill(self._url, KEY, **options) as tm:
            value = ask(tm)
            return list(value) if isinstance(value, Iterator) else value

    async def _awaited(self, ask: Callable[[Any], Any], options: dict[str, Any]) -> Any:
        async with AsyncTextmill(self._url, KEY, **options) as tm:
            value = ask(tm)
            if isinstance(value, AsyncIterator):
                return [item async for item in value]
            return await value if inspect.isawaitable(value) else value
