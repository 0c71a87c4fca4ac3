"""``tm.kinds``, ``tm.workers`` and ``tm.keys`` of the asynchronous client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from textmill.aio.paging import every
from textmill.aio.transport import AsyncTransport
from textmill.catalog import KINDS, WORKERS, Kind, Worker, pick_kind
from textmill.keys import Key, NewKey, create_key, get_key, page_of_keys, revoke_key
from textmill.paging import MAX_PAGE, Page


class AsyncKinds:
    """The kinds of tasks that the server knows."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def page(self) -> Page[Kind]:
        """All of them, with the API's object as ``raw``."""
        return await self._transport.ask(KINDS)

    async def list(self) -> tuple[Kind, ...]:
        """All kinds."""
        return (await self.page()).data

    async def get(self, name: str) -> Kind:
        """One kind.

        Raises:
            KeyError: the server does not know it.
        """
        return pick_kind(await self.list(), name)


class AsyncWorkers:
    """The workers that are alive."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def page(self) -> Page[Worker]:
        """All of them, with the API's object as ``raw``."""
        return await self._transport.ask(WORKERS)

    async def list(self) -> tuple[Worker, ...]:
        """All workers."""
        return (await self.page()).data


class AsyncKeys:
    """The API keys of the caller's tenant; see :class:`textmill.keys.Keys`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def page(self, *, after: str | None = None, limit: int | None = None) -> Page[Key]:
        """One page of keys."""
        return await self._transport.ask(page_of_keys(after=after, limit=limit))

    def list(self) -> AsyncIterator[Key]:
        """All keys, oldest first; those that were revoked too."""
        return every(lambda after: self.page(after=after, limit=MAX_PAGE))

    async def create(
        self,
        *,
        name: str,
        scopes: Sequence[str] | None = None,
        expires_in_days: int | None = None,
    ) -> NewKey:
        """Make a key. Its ``key`` is shown this once; see :meth:`textmill.keys.Keys.create`."""
        return await self._transport.ask(
            create_key(name=name, scopes=scopes, expires_in_days=expires_in_days)
        )

    async def get(self, key_id: str) -> Key:
        """One key's record."""
        return await self._transport.ask(get_key(key_id))

    async def revoke(self, key_id: str) -> Key:
        """Revoke a key: it opens nothing from now on. Its record stays."""
        return await self._transport.ask(revoke_key(key_id))
