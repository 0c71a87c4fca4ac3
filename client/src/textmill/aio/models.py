"""``tm.models`` of the asynchronous client. What each call means stands in :mod:`textmill.registry`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from textmill import model_calls
from textmill.aio.job import AsyncJob
from textmill.aio.jobs import AsyncJobs
from textmill.aio.paging import every
from textmill.aio.transport import AsyncTransport
from textmill.models import Alias, Model
from textmill.paging import Page


class AsyncModels:
    """The models of the registry."""

    def __init__(self, transport: AsyncTransport, jobs: AsyncJobs) -> None:
        self._transport = transport
        self._jobs = jobs

    async def page(self, *, after: str | None = None) -> Page[Model]:
        """One page of models."""
        return await self._transport.ask(model_calls.page(after=after))

    def list(self) -> AsyncIterator[Model]:
        """All models."""
        return every(lambda after: self.page(after=after))

    async def get(self, name: str) -> Model:
        """One model with its versions and aliases."""
        return await self._transport.ask(model_calls.get(name))

    async def alias(self, name: str, alias: str, version: str) -> Any:
        """Let ``registry:name@alias`` mean this version from now on. Returns the API's object."""
        return await self._transport.ask(model_calls.alias(name, alias, version))

    async def roll_back(self, name: str, alias: str = "prod") -> Alias:
        """Let ``registry:name@alias`` mean the version again that it meant before."""
        return await self._transport.ask(model_calls.roll_back(name, alias))

    async def show_alias(self, name: str, alias: str) -> Alias:
        """Where an alias points, and how it came there."""
        return await self._transport.ask(model_calls.show_alias(name, alias))

    async def delete(
        self, name: str, *, version: str | None = None, alias: str | None = None
    ) -> Any:
        """Delete a version, an alias, or without either the whole model. Returns the API's object."""
        return await self._transport.ask(model_calls.delete(name, version=version, alias=alias))

    async def import_model(
        self, ref: str, *, name: str, idempotency_key: str | None = None
    ) -> AsyncJob:
        """Bring a model into the registry. The job's only result says which ``version`` it became."""
        asked = model_calls.import_model(self._jobs.adopt, ref, name=name, key=idempotency_key)
        return await self._transport.ask(asked)
