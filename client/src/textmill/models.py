"""Models of the registry, their versions and their aliases, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from textmill.paging import parse_time


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
