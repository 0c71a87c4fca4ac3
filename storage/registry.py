"""The model registry: ``models/<name>/<version>/`` in the store, and aliases that point at versions.

A version exists once its ``version.json`` does, which is written last and never changes. Its name comes from its
contents, so whoever publishes the same bytes again, a repeated task or another job, gets the same version; who did so
lies under ``origins/``. Aliases are lists of moves: see :mod:`storage.aliases`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from jobs.errors import Conflict, NotFound
from jobs.ids import new_token
from jobs.names import VERSION_RECORD, TenantNames, is_model_name
from jobs.tenants import SHARED_TENANT
from storage.aliases import RECENT, AliasTable, Move
from storage.objects import ObjectMissing, ObjectStore
from storage.watched import Watched

#: Folders beside the versions of a model.
_RESERVED = frozenset({"aliases", "origins"})

#: Files that tell of a model and are no part of it: the same weights are the same version, whatever is told.
TOLD = frozenset(
    {
        "README.md",
        "data_report.json",
        "evaluation.json",
        "model_card.json",
        "training.jsonl",
        "training.svg",
    }
)

#: The alias that every new version takes.
LATEST = "latest"

_UNKNOWN_TYPE = "application/octet-stream"


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


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One publication of a version."""

    source: str  #: as :attr:`ModelVersion.source`
    job: str  #: that published it
    at: str  #: when it did so first
    facts: dict[str, Any] = field(default_factory=dict)


class Registry:
    """The registered models of all tenants."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._aliases = AliasTable(store)

    # --- versions --------------------------------------------------------------------------------

    def publish(
        self,
        tenant: str,
        name: str,
        folder: Path,
        *,
        source: str,
        facts: dict[str, Any],
        job: str | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> ModelVersion:
        """Upload a folder as a version; point ``latest`` at it, unless something newer was published.

        The version's name comes from the contents, so publishing the same folder again gives the same version.

        Args:
            tenant: whose model.
            name: of the model.
            folder: its files.
            source: where it came from.
            facts: what is known of it.
            job: who publishes; by default the source. A job that publishes again, because its task was repeated,
                does not move ``latest`` back.
            check: called between pieces; raises to give up.
        """
        files = sorted(
            path for path in folder.rglob("*") if path.is_file() and path != folder / VERSION_RECORD
        )
        digest = _digest(folder, files)
        version = digest[:12]
        record = TenantNames(tenant).version_record(name, version)
        origin = Origin(source=source, job=job or source, at=_now(), facts=facts)
        if not self._store.exists(record):
            prefix = TenantNames(tenant).model_version(name, version)
            sizes = self._upload(prefix, folder, files, check)
            made = ModelVersion(
                name=name,
                version=version,
                source=source,
                digest=digest,
                bytes=sum(sizes.values()),
                created_at=origin.at,
                files=sizes,
                facts=facts,
            )
            check()
            self._store.put_once(record, orjson.dumps(asdict(made)))
        check()
        self._publish_latest(tenant, name, version, origin)
        return self.version(tenant, name, version)

    def _upload(
        self, prefix: str, folder: Path, files: list[Path], check: Callable[[], None]
    ) -> dict[str, int]:
        """Put the files of a version under a prefix of the store; their sizes."""
        sizes = {}
        for path in files:
            check()
            relative = path.relative_to(folder).as_posix()
            if relative in TOLD:
                # Two jobs may make the same weights at once, and each tell of them in its own words.
                self._store.put_once(prefix + relative, path.read_bytes(), _UNKNOWN_TYPE)
                sizes[relative] = self._store.stat(prefix + relative).size
                continue
            with path.open("rb") as stream:
                watched = Watched(stream, check)
                self._store.put_stream(prefix + relative, cast("BinaryIO", watched))
            sizes[relative] = path.stat().st_size
        return sizes

    def _publish_latest(self, tenant: str, name: str, version: str, origin: Origin) -> None:
        place = TenantNames(tenant).origins(name, version)
        place += f"{hashlib.sha256(origin.job.encode()).hexdigest()[:32]}.json"
        self._store.put_once(place, orjson.dumps(asdict(origin)))
        # Whoever published first has fixed the time, and the store's clock is one for all workers.
        first = Origin(**cast("dict[str, Any]", self._store.get_json(place)))
        modified = self._store.stat(place).modified
        mark = f"{modified.isoformat() if modified else ''} {first.at} {first.job}"

        def decide(newest: Move | None) -> Move | None:
            if newest is not None and newest.published >= mark:
                return None
            return Move(version=version, reason="publish", token=new_token(), published=mark)

        self._aliases.move(tenant, name, LATEST, decide)

    def origins(self, tenant: str, name: str, version: str) -> list[Origin]:
        """Who published a version, the first one first."""
        found = self._store.list(TenantNames(tenant).origins(name, version))
        origins = (Origin(**cast("dict[str, Any]", self._store.get_json(o.name))) for o in found)
        return sorted(origins, key=lambda one: one.at)

    def resolve(self, tenant: str, name: str, revision: str | None) -> ModelVersion:
        """The version that a version's name or an alias stands for now.

        Raises:
            NotFound: there is no such model, version or alias.
        """
        wanted = revision or LATEST
        if not (is_model_name(name) and is_model_name(wanted)):
            raise NotFound("no such model in the registry")
        move = self._aliases.current(tenant, name, wanted)
        return self.version(tenant, name, (move.version if move else None) or wanted)

    def find(self, tenant: str, name: str, revision: str | None) -> tuple[str, ModelVersion]:
        """As :meth:`resolve`, among the tenant's models and then the shared ones; whose it is, and the version.

        A model of the tenant hides a shared one of the same name, all versions of it.

        Raises:
            NotFound: there is no such model, version or alias.
        """
        owner = self.owner(tenant, name)
        return owner, self.resolve(owner, name, revision)

    def owner(self, tenant: str, name: str) -> str:
        """Whose model a tenant means by a name: its own, or the one that all share.

        Raises:
            NotFound: neither has one.
        """
        if not is_model_name(name):
            raise NotFound("no such model in the registry")
        for owner in dict.fromkeys((tenant, SHARED_TENANT)):
            if self._has(owner, name):
                return owner
        raise NotFound(f"no model {name} in the registry")

    def _has(self, tenant: str, name: str) -> bool:
        names = TenantNames(tenant)
        for info in self._store.list(names.model(name), recursive=False):
            version = info.name.removeprefix(names.model(name)).rstrip("/")
            # One that is still being uploaded has no record yet.
            if version not in _RESERVED and self._store.exists(names.version_record(name, version)):
                return True
        return False

    def version(self, tenant: str, name: str, version: str) -> ModelVersion:
        """A version by its own name.

        Raises:
            NotFound: there is no such version.
        """
        if not (is_model_name(name) and is_model_name(version)) or version in _RESERVED:
            raise NotFound("no such model in the registry")
        try:
            data = self._store.get_json(TenantNames(tenant).version_record(name, version))
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
            version = info.name.removeprefix(prefix).rstrip("/")
            if version not in _RESERVED:
                try:
                    found.append(self.version(tenant, name, version))
                except NotFound:
                    continue  # still being uploaded
        if not found:
            raise NotFound(f"no model {name} in the registry")
        return sorted(found, key=lambda one: (one.created_at, one.version))

    # --- aliases ---------------------------------------------------------------------------------

    def aliases(self, tenant: str, name: str) -> dict[str, str]:
        """Where the model's aliases point."""
        if not is_model_name(name):
            raise NotFound("no such model in the registry")
        return self._aliases.all(tenant, name)

    def alias_history(self, tenant: str, name: str, alias: str) -> list[Move]:
        """The newest moves of an alias, newest first.

        Raises:
            NotFound: there is no such model or alias.
        """
        if not (is_model_name(name) and is_model_name(alias)):
            raise NotFound("no such alias in the registry")
        moves = list(islice(self._aliases.history(tenant, name, alias), RECENT))
        if not moves or moves[0].version is None:
            raise NotFound(f"no alias {alias} of {name} in the registry")
        return moves

    def set_alias(
        self, tenant: str, name: str, alias: str, version: str, token: str | None = None
    ) -> ModelVersion:
        """Point an alias at a version, or at what another alias points at.

        Raises:
            NotFound: there is no such version.
        """
        found = self.resolve(tenant, name, version)
        self._aliases.redirect(
            tenant, name, alias, lambda: (found.version, None), token=token, reason="set"
        )
        return found

    def roll_back(self, tenant: str, name: str, alias: str, token: str | None = None) -> str:
        """Point an alias at the version that it pointed at before; the version. The next call goes one further back.

        Args:
            tenant: whose model.
            name: of the model.
            alias: of it.
            token: names the call: one that comes again does nothing more.

        Raises:
            NotFound: there is no such alias.
            Conflict: there is nothing before it that still exists.
        """
        self.alias_history(tenant, name, alias)

        def exists(version: str) -> bool:
            return self._store.exists(TenantNames(tenant).version_record(name, version))

        def before() -> tuple[str | None, int | None]:
            earlier = self._aliases.earlier(tenant, name, alias, exists)
            if earlier is None:
                raise Conflict(
                    f"alias {alias} of {name} pointed at no other version before that still exists"
                )
            return earlier.version, earlier.number

        made = self._aliases.redirect(tenant, name, alias, before, token=token, reason="rollback")
        return str(made.version)

    def delete_alias(self, tenant: str, name: str, alias: str) -> None:
        """Delete an alias; its history stays.

        Raises:
            NotFound: there is no such alias.
            Conflict: it is ``latest``, which every model has.
        """
        self.alias_history(tenant, name, alias)
        if alias == LATEST:
            raise Conflict("latest is the alias of the newest version and cannot be deleted")
        self._aliases.redirect(
            tenant, name, alias, lambda: (None, None), token=None, reason="delete"
        )

    # --- what lies in the store ------------------------------------------------------------------

    def hide(self, version: ModelVersion, tenant: str) -> None:
        """Make a version cease to exist; its files stay for now."""
        self._store.delete(TenantNames(tenant).version_record(version.name, version.version))

    def show(self, version: ModelVersion, tenant: str) -> None:
        """The inverse of :meth:`hide`."""
        place = TenantNames(tenant).version_record(version.name, version.version)
        self._store.put_once(place, orjson.dumps(asdict(version)))

    def sweep(self, tenant: str, name: str, version: str | None = None) -> int:
        """Remove whatever lies under a version that was hidden, or under a model without versions; how many objects
        there were."""
        names = TenantNames(tenant)
        prefixes = [names.model(name)]
        if version is not None:
            prefixes = [names.model_version(name, version), names.origins(name, version)]
        count = 0
        for prefix in prefixes:
            for found in self._store.list(prefix):
                self._store.delete(found.name)
                count += 1
        return count

    def read(self, tenant: str, version: ModelVersion, file: str) -> bytes:
        """A small file of a version.

        Raises:
            ObjectMissing: it has no such file.
        """
        prefix = TenantNames(tenant).model_version(version.name, version.version)
        return self._store.get(prefix + file)

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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _digest(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        if path.relative_to(folder).as_posix() in TOLD:
            continue
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
