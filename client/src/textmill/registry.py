"""``tm.models``: the registry of models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from textmill import model_calls
from textmill.job import Job
from textmill.jobs import Jobs
from textmill.models import Alias, Model
from textmill.paging import Page, every
from textmill.transport import Transport


class Models:
    """The models of the registry."""

    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    def page(self, *, after: str | None = None) -> Page[Model]:
        """One page of models."""
        return self._transport.ask(model_calls.page(after=after))

    def list(self) -> Iterator[Model]:
        """All models."""
        return every(lambda after: self.page(after=after))

    def get(self, name: str) -> Model:
        """One model with its versions and aliases."""
        return self._transport.ask(model_calls.get(name))

    def alias(self, name: str, alias: str, version: str) -> Any:
        """Let ``registry:name@alias`` mean this version from now on. Returns the API's object."""
        return self._transport.ask(model_calls.alias(name, alias, version))

    def roll_back(self, name: str, alias: str = "prod") -> Alias:
        """Let ``registry:name@alias`` mean the version again that it meant before."""
        return self._transport.ask(model_calls.roll_back(name, alias))

    def show_alias(self, name: str, alias: str) -> Alias:
        """Where an alias points, and how it came there."""
        return self._transport.ask(model_calls.show_alias(name, alias))

    def delete(self, name: str, *, version: str | None = None, alias: str | None = None) -> Any:
        """Delete a version, an alias, or without either the whole model. Returns the API's object.

        Raises:
            Conflict: something needs it: an alias, an unfinished job, or an adapter whose base it is.
        """
        return self._transport.ask(model_calls.delete(name, version=version, alias=alias))

    def import_model(self, ref: str, *, name: str, idempotency_key: str | None = None) -> Job:
        """Bring a model into the registry. The job's only result says which ``version`` it became.

        Args:
            idempotency_key: the same key always gives the same job. One is made up when not given.
        """
        asked = model_calls.import_model(self._jobs.adopt, ref, name=name, key=idempotency_key)
        return self._transport.ask(asked)
