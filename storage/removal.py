"""Deleting registered models, unless something still needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from jobs.errors import Conflict, FieldError, InvalidRequest, NotFound
from jobs.modelref import ModelRef, Scheme
from jobs.record import JobRecord
from jobs.tenants import SHARED_TENANT
from storage.ledger import Ledger
from storage.objects import ObjectMissing
from storage.registry import LATEST, ModelVersion, Registry

#: What holds a model that is named in an error; there may be thousands.
_NAMED = 20

#: Files in which adapters name their base, with the field that does: Textmill's own first, then PEFT's.
_BASES = {"textmill.json": "base", "adapter_config.json": "base_model_name_or_path"}


class Removal:
    """Deletes models of one tenant."""

    def __init__(self, registry: Registry, ledger: Ledger, tenant: str) -> None:
        self._registry = registry
        self._ledger = ledger
        self._tenant = tenant

    def delete_version(self, name: str, version: str) -> None:
        """Delete a version.

        Raises:
            NotFound: there is no such version.
            Conflict: an alias points at it, an unfinished job uses it, or an adapter names it as its base.
            Unavailable: the ledger cannot say which jobs there are.
        """
        found = self._registry.version(self._tenant, name, version)
        self._delete(f"version {version} of {name}", [found], whole=False)
        self._registry.sweep(self._tenant, name, version)

    def delete_model(self, name: str) -> None:
        """Delete a model with all its versions and with ``latest``.

        Raises:
            NotFound: there is no such model.
            Conflict: it has another alias, an unfinished job uses it, or an adapter of another model names it as its
                base.
            Unavailable: the ledger cannot say which jobs there are.
        """
        self._delete(f"model {name}", self._registry.versions(self._tenant, name), whole=True)
        self._registry.sweep(self._tenant, name)

    def _delete(self, what: str, versions: list[ModelVersion], *, whole: bool) -> None:
        self._refuse(what, versions, whole=whole)
        for version in versions:
            self._registry.hide(version, self._tenant)
        try:
            # From here on nobody finds them; somebody may have just before.
            self._refuse(what, versions, whole=whole)
        except BaseException:
            for version in versions:
                self._registry.show(version, self._tenant)
            raise

    def _refuse(self, what: str, versions: list[ModelVersion], *, whole: bool) -> None:
        holders: list[FieldError] = []
        for holder in self._holders(versions, whole=whole):
            holders.append(holder)
            if len(holders) == _NAMED:
                break
        if holders:
            reasons = "; ".join(one.reason for one in holders[:3])
            more = f" and {len(holders) - 3} more" if len(holders) > 3 else ""
            raise Conflict(f"{what} cannot be deleted: {reasons}{more}", fields=holders)

    def _holders(self, versions: list[ModelVersion], *, whole: bool) -> Iterator[FieldError]:
        name = versions[0].name
        own = {version.version for version in versions}
        for alias, version in self._registry.aliases(self._tenant, name).items():
            if version in own and not (whole and alias == LATEST):
                yield FieldError(
                    field="alias", reason=f"alias {alias} points at {version}", value=alias
                )
        for record in self._users():
            for version in sorted(own & _used(record.model, name)):
                reason = f"job {record.id} is {record.status} and uses {version}"
                yield FieldError(field="job", reason=reason, value=record.id)
        for adapter, version in self._adapters(name, own, whole=whole):
            label = f"{adapter.name}@{adapter.version}"
            reason = f"adapter {label} has {version} as its base"
            yield FieldError(field="adapter", reason=reason, value=label)

    def _users(self) -> Iterator[JobRecord]:
        """Unfinished jobs that may use the tenant's models: its own, and of shared models everybody's."""
        if self._tenant != SHARED_TENANT:
            yield from self._ledger.jobs.unfinished(self._tenant)
            return
        for record in self._ledger.jobs.unfinished(None):
            if SHARED_TENANT in (record.tenant, (record.model or {}).get("owner")):
                yield record

    def _adapters(
        self, name: str, own: set[str], *, whole: bool
    ) -> Iterator[tuple[ModelVersion, str]]:
        """Adapters whose base is one of these versions, with that version."""
        for other in self._registry.names(self._tenant):
            if whole and other == name:
                continue
            try:
                candidates = self._registry.versions(self._tenant, other)
            except NotFound:
                continue
            for candidate in candidates:
                if other == name and candidate.version in own:
                    continue
                base = self._base(candidate)
                if base is not None and base[0] == name and base[1] in own:
                    yield candidate, base[1]

    def _base(self, candidate: ModelVersion) -> tuple[str, str] | None:
        """Name and version of an adapter's base, where that is registered."""
        for file, key in _BASES.items():
            if "adapter_config.json" not in candidate.files or file not in candidate.files:
                continue
            try:
                facts = orjson.loads(self._registry.read(self._tenant, candidate, file))
                ref = ModelRef.parse(str(facts[key]))
            except (ObjectMissing, KeyError, TypeError, orjson.JSONDecodeError, InvalidRequest):
                continue
            if ref.scheme is Scheme.REGISTRY:
                try:
                    found = self._registry.resolve(self._tenant, ref.location, ref.revision)
                except NotFound:
                    return ref.location, ref.revision or LATEST
                return found.name, found.version
            return None
        return None


def _used(model: Mapping[str, Any] | None, name: str) -> set[str]:
    """The versions of a registered model that a job's ``model`` block names, as its model or as its base."""
    found = set()
    for key in ("ref", "base"):
        scheme, _, place = str((model or {}).get(key) or "").partition(":")
        other, _, version = place.partition("@")
        if scheme == Scheme.REGISTRY and other == name and version:
            found.add(version)
    return found
