"""``tm.models``: the registry of models."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from textmill.call import call
from textmill.errors import InputError
from textmill.job import Job
from textmill.jobs import Jobs
from textmill.paging import Page, every, parse_time, to_page
from textmill.transport import Transport


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version of a model. Never changes."""

    version: str
    created_at: datetime | None = None
    source: str | None = None  #: where it came from: a reference, or the job that trained it
    bytes: int | None = None
    #: What is known of it: of a trained one ``base``, ``metrics``, ``baselines``, ``licence``, ``lineage`` and more.
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One move of an alias."""

    version: str | None  #: where it pointed from then on; None: it was deleted
    at: datetime | None
    reason: str  #: ``publish``, ``set``, ``rollback`` or ``delete``


@dataclass(frozen=True, kw_only=True)
class Alias:
    """Where an alias points, and how it came there."""

    name: str  #: of the model
    alias: str
    version: str
    history: tuple[AliasMove, ...] = ()  #: newest first
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of the registry."""

    name: str
    versions: tuple[ModelVersion, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)  #: alias to version
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def newest(self) -> str | None:
        """What ``latest`` means: the version that came last."""
        if "latest" in self.aliases:
            return self.aliases["latest"]
        dated = [(one.created_at, one.version) for one in self.versions if one.created_at]
        return max(dated)[1] if dated else None


def to_model(raw: Mapping[str, Any]) -> Model:
    """A model from the API's object."""
    return Model(
        name=raw["name"],
        versions=tuple(_version(item) for item in raw.get("versions") or ()),
        aliases=raw.get("aliases") or {},
        raw=raw,
    )


def to_alias(raw: Mapping[str, Any]) -> Alias:
    """An alias from the API's object."""
    return Alias(
        name=raw["name"],
        alias=raw["alias"],
        version=raw["version"],
        history=tuple(
            AliasMove(version=m["version"], at=parse_time(m.get("at")), reason=m["reason"])
            for m in raw.get("history") or ()
        ),
        raw=raw,
    )


def _version(raw: Mapping[str, Any]) -> ModelVersion:
    source = raw.get("source")
    return ModelVersion(
        version=str(raw["version"]),
        created_at=parse_time(raw.get("created_at")),
        source=source if isinstance(source, str) or source is None else _origin(source),
        bytes=raw.get("bytes"),
        facts=raw.get("facts") or {},
        raw=raw,
    )


def _origin(source: Mapping[str, Any]) -> str:
    """A source that the server describes by several fields, on one line."""
    return ", ".join(f"{name} {value}" for name, value in source.items() if value is not None)


class Models:
    """The models of the registry."""

    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    def page(self, *, after: str | None = None) -> Page[Model]:
        """One page of models."""
        request = call("GET", "models", query={"after": after})
        return self._transport.send(request).parse(lambda raw: to_page(raw, to_model))

    def list(self) -> Iterator[Model]:
        """All models."""
        return every(lambda after: self.page(after=after))

    def get(self, name: str) -> Model:
        """One model with its versions and aliases."""
        return self._transport.send(call("GET", "models", name)).parse(to_model)

    def alias(self, name: str, alias: str, version: str) -> Any:
        """Let ``registry:name@alias`` mean this version from now on. Returns the API's object."""
        request = call("PUT", "models", name, "aliases", alias, body={"version": version})
        return self._transport.send(request).body

    def roll_back(self, name: str, alias: str = "prod") -> Alias:
        """Let ``registry:name@alias`` mean the version again that it meant before."""
        request = call("POST", "models", name, "aliases", alias, "rollback", repeatable=True)
        # The same key in every try: an answer that was lost must not take it back twice.
        request = request.with_headers(Idempotency_Key=str(uuid.uuid4()))
        return self._transport.send(request).parse(to_alias)

    def show_alias(self, name: str, alias: str) -> Alias:
        """Where an alias points, and how it came there."""
        return self._transport.send(call("GET", "models", name, "aliases", alias)).parse(to_alias)

    def delete(self, name: str, *, version: str | None = None, alias: str | None = None) -> Any:
        """Delete a version, an alias, or without either the whole model. Returns the API's object.

        Raises:
            Conflict: something needs it: an alias, an unfinished job, or an adapter whose base it is.
        """
        if version is not None and alias is not None:
            raise InputError("expected a version or an alias to delete, found both")
        path: tuple[str, ...] = ()
        if version is not None:
            path = ("versions", version)
        elif alias is not None:
            path = ("aliases", alias)
        return self._transport.send(call("DELETE", "models", name, *path)).body

    def import_model(self, ref: str, *, name: str) -> Job:
        """Bring a model into the registry. The job's only result says which ``version`` it became."""
        request = call("POST", "models", body={"ref": ref, "name": name})
        return self._transport.send(request).parse(self._jobs.adopt)
