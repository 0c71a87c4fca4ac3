"""API keys: an object in the store first, then a copy in the ledger for quick checks."""

from __future__ import annotations

import hmac
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import cast

import orjson

from jobs.errors import NotFound, Unauthenticated
from jobs.ids import api_key_id, hash_api_key, is_id, new_api_key
from jobs.names import TenantNames
from jobs.scopes import ALL_SCOPES, Scope
from storage.intents import Act, Intent, IntentIndex
from storage.ledger import Ledger
from storage.ledger.scripts import ledger_faults
from storage.objects import ObjectMissing, ObjectStore


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key's record. The key itself is shown once and kept nowhere."""

    id: str
    tenant: str
    name: str
    hash: str  #: SHA-256 of the key, in hex
    created_at: str
    revoked_at: str | None = None
    scopes: frozenset[Scope] = ALL_SCOPES  #: what it may be used for

    def to_json(self) -> bytes:
        """As it is kept."""
        return orjson.dumps({**asdict(self), "scopes": sorted(self.scopes)})

    @classmethod
    def from_json(cls, data: bytes | str) -> ApiKey:
        """The inverse of :meth:`to_json`; a record of an earlier version has all scopes."""
        entry = orjson.loads(data)
        scopes = entry.pop("scopes", None)
        known = ALL_SCOPES if scopes is None else frozenset(Scope(one) for one in scopes)
        return cls(**entry, scopes=known)


class KeyRing:
    """The API keys of all tenants."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._store = store
        self._redis = ledger.client.redis
        self._ledger = ledger
        self._intents = IntentIndex(store)

    def create(self, tenant: str, name: str) -> tuple[ApiKey, str]:
        """A new key: its record, and the key to be shown once."""
        key_id, key = new_api_key()
        record = ApiKey(
            id=key_id, tenant=tenant, name=name, hash=hash_api_key(key), created_at=_now()
        )
        self._save(record)
        return record, key

    def revoke(self, tenant: str, key_id: str) -> ApiKey:
        """Make a key worthless at once.

        Raises:
            NotFound: the tenant has no such key.
        """
        known = {record.id: record for record in self.list(tenant)}
        if not is_id(key_id, "key") or key_id not in known:
            raise NotFound(f"no key {key_id}")
        record = known[key_id]
        if record.revoked_at is None:
            record = replace(record, revoked_at=_now())
            self._save(record)
        return record

    def list(self, tenant: str) -> list[ApiKey]:
        """The tenant's keys, oldest first."""
        names = [info.name for info in self._store.list(TenantNames(tenant).keys)]
        return [ApiKey.from_json(self._store.get(name)) for name in names]

    def restore(self, record: ApiKey) -> None:
        """Enter a key that lies in the store."""
        with ledger_faults():
            self._redis.set(f"key:{record.id}", record.to_json())

    def refresh(self, tenant: str, key_id: str) -> bool:
        """Make the ledger know a key as the store does; whether it did not."""
        try:
            stored = self._store.get(TenantNames(tenant).key(key_id))
        except ObjectMissing:
            return False
        with ledger_faults():
            known = cast("str | None", self._redis.get(f"key:{key_id}"))
        if known is not None and ApiKey.from_json(known) == ApiKey.from_json(stored):
            return False
        self.restore(ApiKey.from_json(stored))
        return True

    def check(self, key: str) -> ApiKey:
        """The record of a key that was sent with a request.

        Hashes are compared in constant time, also when no such key exists.

        Raises:
            Unauthenticated: it is no valid key. Nothing says which part was wrong.
            Unavailable: the ledger cannot say.
        """
        key_id = api_key_id(key)
        stored = None
        if key_id is not None:
            with ledger_faults():
                stored = cast("str | None", self._redis.get(f"key:{key_id}"))
        record = ApiKey.from_json(stored) if stored else None
        expected = record.hash if record else "0" * 64
        matches = hmac.compare_digest(expected, hash_api_key(key))
        if record is None or not matches or record.revoked_at is not None:
            self._ledger.require_epoch()
            raise Unauthenticated("the API key is not valid")
        return record

    def _save(self, record: ApiKey) -> None:
        at = self._ledger.now()
        self._store.put(
            TenantNames(record.tenant).key(record.id),
            record.to_json(),
            "application/json",
        )
        self._intents.record(Intent(at=at, tenant=record.tenant, subject=record.id, act=Act.KEY))
        self.restore(record)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
