"""Tenants' records: an object in the store first, then a copy in the ledger that its scripts go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from jobs.errors import Conflict, InvalidRequest, NotFound
from jobs.names import TENANTS, TenantNames, is_tenant
from jobs.tenants import DEFAULT_TENANT, SHARED_TENANT, Tenant
from storage.intents import Act, Intent, IntentIndex
from storage.ledger import Ledger
from storage.objects import ObjectMissing, ObjectStore

#: Tenants that there are without a record.
BUILT_IN = (DEFAULT_TENANT, SHARED_TENANT)


class TenantTable:
    """All tenants."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._intents = IntentIndex(store)

    def create(
        self,
        name: str,
        *,
        limits: Mapping[str, float | None] | None = None,
        s3_allowed_prefixes: tuple[str, ...] | None = None,
    ) -> Tenant:
        """Make a tenant's record.

        Raises:
            InvalidRequest: nobody can be called so.
            Conflict: it has one.
        """
        if not is_tenant(name):
            reason = "expected 1 to 63 lower-case letters, digits and hyphens"
            raise InvalidRequest.of("tenant", reason, name)
        record = Tenant(
            name=name,
            created_at=_now(),
            limits=limits or {},
            s3_allowed_prefixes=s3_allowed_prefixes,
        )
        at = self._ledger.now()
        if not self._store.put_once(TenantNames(name).record, record.to_json()):
            raise Conflict(f"tenant {name} exists")
        self._enter(record, at)
        return record

    def change(
        self,
        name: str,
        *,
        limits: Mapping[str, float | None] | None = None,
        forget: frozenset[str] = frozenset(),
        s3_allowed_prefixes: tuple[str, ...] | None = None,
    ) -> Tenant:
        """Give a tenant other limits, beside those it has, or other prefixes.

        Args:
            name: of the tenant.
            limits: new ones by name.
            forget: limits that shall be those of the settings again.
            s3_allowed_prefixes: new ones; None leaves them as they are.

        Raises:
            NotFound: there is no such tenant.
        """
        record = self.get(name)
        kept = {key: value for key, value in record.limits.items() if key not in forget}
        record = replace(record, limits={**kept, **(limits or {})})
        if s3_allowed_prefixes is not None:
            record = replace(record, s3_allowed_prefixes=s3_allowed_prefixes)
        return self._save(record)

    def disable(self, name: str) -> Tenant:
        """Let none of the tenant's keys in any more, at once. Its jobs go on.

        Raises:
            NotFound: there is no such tenant.
        """
        record = self.get(name)
        return record if record.disabled_at else self._save(replace(record, disabled_at=_now()))

    def enable(self, name: str) -> Tenant:
        """The inverse of :meth:`disable`.

        Raises:
            NotFound: there is no such tenant.
        """
        return self._save(replace(self.get(name), disabled_at=None))

    def get(self, name: str) -> Tenant:
        """A tenant's record, or an empty one for those that need none.

        Raises:
            NotFound: there is no such tenant.
        """
        if is_tenant(name):
            found = self._stored(name)
            if found is not None:
                return found
            if name in BUILT_IN:
                return Tenant(name=name, created_at=_now())
        raise NotFound(f"no tenant {name}; make it first: textmill-server tenants create")

    def list(self) -> list[Tenant]:
        """All tenants that have a record, by name."""
        found = (self._stored(name) for name in tenants(self._store))
        return [tenant for tenant in found if tenant is not None]

    # --- after a loss ------------------------------------------------------------------------------

    def restore(self, name: str) -> bool:
        """Enter a tenant's record that lies in the store; whether there is one."""
        record = self._stored(name)
        if record is not None:
            self._ledger.accounts.enter(record)
        return record is not None

    def refresh(self, name: str) -> bool:
        """Make the ledger know a tenant as the store does; whether it did not."""
        record = self._stored(name)
        if record is None or self._ledger.accounts.find(name) == record:
            return False
        self._ledger.accounts.enter(record)
        return True

    # --- inside ------------------------------------------------------------------------------------

    def _stored(self, name: str) -> Tenant | None:
        try:
            return Tenant.from_json(self._store.get(TenantNames(name).record))
        except ObjectMissing:
            return None

    def _save(self, record: Tenant) -> Tenant:
        at = self._ledger.now()
        self._store.put(TenantNames(record.name).record, record.to_json(), "application/json")
        self._enter(record, at)
        return record

    def _enter(self, record: Tenant, at: int) -> None:
        self._intents.record(Intent(at=at, tenant=record.name, subject=record.name, act=Act.TENANT))
        self._ledger.accounts.enter(record)


def allowed_prefixes(ledger: Ledger, tenant: str, configured: tuple[str, ...]) -> tuple[str, ...]:
    """The ``s3://`` prefixes that a tenant's jobs may read: its own; else the default tenant has the settings'."""
    record = ledger.accounts.find(tenant)
    if record is not None and record.s3_allowed_prefixes is not None:
        return record.s3_allowed_prefixes
    return configured if tenant == DEFAULT_TENANT else ()


def tenants(store: ObjectStore) -> list[str]:
    """All tenants that have anything in the store."""
    folders = store.list(TENANTS, recursive=False)
    return [found.name.removeprefix(TENANTS).strip("/") for found in folders]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
