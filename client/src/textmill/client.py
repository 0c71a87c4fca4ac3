"""The client itself."""

from __future__ import annotations

from datetime import date
from types import TracebackType
from typing import TYPE_CHECKING

from textmill.catalog import Health, Kinds, Workers, health
from textmill.config import find_config
from textmill.files import Files
from textmill.jobs import Jobs
from textmill.keys import Keys
from textmill.registry import Models
from textmill.retry import RetryPolicy
from textmill.schedules import Schedules
from textmill.transport import Transport
from textmill.usage import TenantUsage, usage

if TYPE_CHECKING:
    from typing_extensions import Self

#: Seconds without a byte from the server after which a call has failed.
DEFAULT_TIMEOUT = 60.0


class Textmill:
    """A Textmill server.

    ::

        tm = Textmill()
        job = tm.jobs.create(kind="classify", model="registry:tickets", input="reviews.jsonl")
        job.wait(progress=True)
        for row in job.results():
            print(row["custom_id"], row["output"]["label"])

    May be shared by threads. Connections are kept open until :meth:`close`, the end of a ``with`` block, or until
    nobody uses it any more.
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
        transport = Transport(config, timeout=timeout, policy=retry or RetryPolicy())
        self._transport = transport
        self.files = Files(transport)
        self.jobs = Jobs(transport, self.files)
        self.models = Models(transport, self.jobs)
        self.kinds = Kinds(transport)
        self.workers = Workers(transport)
        self.keys = Keys(transport)
        self.schedules = Schedules(transport, self.jobs)

    def healthy(self) -> Health:
        """Whether the server is alive."""
        return self._transport.ask(health("/healthz"))

    def ready(self) -> Health:
        """Whether the server and all it depends on can work.

        Raises:
            Unavailable: something is down; ``raw`` names the checks.
        """
        return self._transport.ask(health("/readyz"))

    def usage(
        self, *, first: date | str | None = None, last: date | str | None = None
    ) -> TenantUsage:
        """What the caller's tenant has used by day, and what is left of its quotas.

        Args:
            first: first day, in UTC; by default 30 days before the last one.
            last: last day; by default today.
        """
        return self._transport.ask(usage(first=first, last=last))

    def close(self) -> None:
        """Close all connections. May be called twice."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
