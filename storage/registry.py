"""The model registry: ``models/<name>/<version>/`` in the store, and aliases that point at versions.

A version exists once its ``version.json`` does, which is written last and never changes. Aliases are one small object
each, so moving one is atomic.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import orjson

from jobs.errors import NotFound
from jobs.names import TenantNames, is_model_name
from storage.objects import ObjectMissing, ObjectStore

_RECORD = "version.json"
_ALIASES = "aliases/"

#: The alias that every new version takes.
LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version of a registered model. Never changes."""

    name: str
    version: str
    source: str  #: where it came from: a model reference, or the job that trained it
    digest: str  #: SHA-256 over names and contents of its files, in hex
    bytes: int
    created_at: str
    files: dict[str, int] = field(default_factory=dict)  #: name -> size in bytes
    facts: dict[str, Any] = field(default_factory=dict)


class Registry:
    """The registered models of all tenants."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def publish(
        self, tenant: str, name: str, folder: Path, *, source: str, facts: dict[str, Any]
    ) -> ModelVersion:
        """Upload a folder as a version; point ``latest`` at it.

        The version's name comes from the contents, so publishing the same folder again (a repeated task) gives the
        same version.
        """
        files = sorted(
            path for path in folder.rglob("*") if path.is_file() and path != folder / _RECORD
        )
        digest = _digest(folder, files)
        version = digest[:12]
        prefix = TenantNames(tenant).model_version(name, version)
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
        for path in files:
            with path.open("rb") as stream:
                self._store.put_stream(prefix + path.relative_to(folder).as_posix(), stream)
        record = ModelVersion(
            name=name,
            version=version,
            source=source,
            digest=digest,
            bytes=sum(sizes.values()),
            created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            files=sizes,
            facts=facts,
        )
        self._store.put_once(prefix + _RECORD, orjson.dumps(asdict(record)))
        self._set_alias(tenant, name, LATEST, version)
        return self.version(tenant, name, version)

    def resolve(self, tenant: str, name: str, revision: str | None) -> ModelVersion:
        """The version that a version's name or an alias stands for now.

        Raises:
            NotFound: there is no such model, version or alias.
        """
        wanted = revision or LATEST
        alias = self.aliases(tenant, name).get(wanted)
        return self.version(tenant, name, alias or wanted)

    def version(self, tenant: str, name: str, version: str) -> ModelVersion:
        """A version by its own name.

        Raises:
            NotFound: there is no such version.
        """
        known = is_model_name(name) and is_model_name(version) and version != _ALIASES.rstrip("/")
        if not known:
            raise NotFound("no such model in the registry")
        try:
            data = self._store.get_json(TenantNames(tenant).model_version(name, version) + _RECORD)
        except ObjectMissing:
            raise NotFound(f"no model {name}@{version} in the registry") from None
        return ModelVersion(**cast("dict[str, Any]", data))

    def names(self, tenant: str) -> list[str]:
        """Names of the tenant's models."""
        prefix = TenantNames(tenant).models
        found = self._store.list(prefix, recursive=False)
        return [info.name.removeprefix(prefix).rstrip("/") for info in found]

    def versions(self, tenant: str, name: str) -> list[ModelVersion]:
        """Versions of a model, oldest first.

        Raises:
            NotFound: the tenant has no such model.
        """
        if not is_model_name(name):
            raise NotFound("no such model in the registry")
        prefix = TenantNames(tenant).model(name)
        found = []
        for info in self._store.list(prefix, recursive=False):
            version = info.name.removeprefix(prefix)
            if version != _ALIASES:
                try:
                    found.append(self.version(tenant, name, version.rstrip("/")))
                except NotFound:
                    continue  # still being uploaded
        if not found:
            raise NotFound(f"no model {name} in the registry")
        return sorted(found, key=lambda one: one.created_at)

    def aliases(self, tenant: str, name: str) -> dict[str, str]:
        """Where the model's aliases point."""
        if not is_model_name(name):
            raise NotFound("no such model in the registry")
        prefix = TenantNames(tenant).model(name) + _ALIASES
        aliases = {}
        for info in self._store.list(prefix):
            data = cast("dict[str, str]", self._store.get_json(info.name))
            aliases[info.name.removeprefix(prefix).removesuffix(".json")] = data["version"]
        return aliases

    def set_alias(self, tenant: str, name: str, alias: str, version: str) -> ModelVersion:
        """Point an alias at a version, or at what another alias points at.

        Raises:
            NotFound: there is no such version.
        """
        found = self.resolve(tenant, name, version)
        self._set_alias(tenant, name, alias, found.version)
        return found

    def _set_alias(self, tenant: str, name: str, alias: str, version: str) -> None:
        self._store.put_json(TenantNames(tenant).alias(name, alias), {"version": version})

    def download(self, tenant: str, version: ModelVersion, target: Path) -> None:
        """Fetch a version's files into a folder."""
        prefix = TenantNames(tenant).model_version(version.name, version.version)
        for name in version.files:
            download(self._store, prefix + name, target / name)


def download(store: ObjectStore, name: str, path: Path) -> None:
    """Fetch one object into a file, in bounded memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for chunk in store.stream(name):
            file.write(chunk)


def _digest(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
