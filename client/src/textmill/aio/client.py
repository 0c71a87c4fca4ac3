"""The asynchronous client itself."""

from __future__ import annotations

from datetime import date
from types import TracebackType
from typing import TYPE_CHECKING

from textmill.aio.catalog import AsyncKeys, AsyncKinds, AsyncWorkers
from textmill.aio.files import AsyncFiles
from textmill.aio.jobs import AsyncJobs
from textmill.aio.models import AsyncModels
from textmill.aio.schedules import AsyncSchedules
from textmill.aio.transport import AsyncTransport
from textmill.catalog import Health, health
from textmill.client import DEFAULT_TIMEOUT
from textmill.config import find_config
from textmill.retry import RetryPolicy
from textmill.usage import TenantUsage, usage

if TYPE_CHECKING:
    from typing_extensions import Self


class AsyncTextmill:
    """A Textmill server, for ``asyncio``. It has all that :class:`textmill.Textmill` has, to be awaited.

    ::

        async with AsyncTextmill() as tm:
            job = await tm.jobs.create(kind="classify", model="registry:tickets", input="reviews.jsonl")
            job = await job.wait()
            async for row in job.results():
                print(row["custom_id"], row["output"]["label"])

    May be shared by the tasks of one event loop, to which its connections belong. Lists and results are for
    ``async for``, without ``await``.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: RetryPolicy | None = None,
    ) -> None:
        """
        Args:
            url: the server; else ``TEXTMILL_URL``, else ``./.textmill/client.toml``.
            api_key: the key; else ``TEXTMILL_API_KEY``, else that file's, which goes only to that file's server.
            timeout: seconds without a byte from the server after which a try has failed.
            retry: how failed calls are tried again.

        Raises:
            ConfigError: no server or key is configured, or one that cannot be used.
        """
        config = find_config(url, api_key).require()
        self.url = config.url
        transport = AsyncTransport(config, timeout=timeout, policy=retry or RetryPolicy())
        self._transport = transport
        self.files = AsyncFiles(transport)
        self.jobs = AsyncJobs(transport, self.files)
        self.models = AsyncModels(transport, self.jobs)
        self.kinds = AsyncKinds(transport)
        self.workers = AsyncWorkers(transport)
        self.keys = AsyncKeys(transport)
        self.schedules = AsyncSchedules(transport, self.jobs)

    async def healthy(self) -> Health:
        """Whether the server is alive."""
        return await self._transport.ask(health("/healthz"))

    async def ready(self) -> Health:
        """Whether the server and all it depends on can work.

        Raises:
            Unavailable: something is down; ``raw`` names the checks.
        """
        return await self._transport.ask(health("/readyz"))

    async def usage(
        self, *, first: date | str | None = None, last: date | str | None = None
    ) -> TenantUsage:
        """What the caller's tenant has used by day, and what is left of its quotas.

        Args:
            first: first day, in UTC; by default 30 days before the last one.
            last: last day; by default today.
        """
        return await self._transport.ask(usage(first=first, last=last))

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
