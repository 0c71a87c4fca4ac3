"""API keys: an object in the store first, then a copy in the ledger for quick checks."""

from __future__ import annotations

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

from jobs.errors import Forbidden, NotFound, RateLimited, Unauthenticated, Unavailable, shorten
from jobs.ids import api_key_id, hash_api_key, is_id, new_api_key
from jobs.names import TenantNames
from jobs.record import rfc3339
from jobs.scopes import ALL_SCOPES, Scope
from storage.intents import Act, Intent, IntentIndex
from storage.ledger import Ledger
from storage.ledger.admission import KEY_USED_MS, Looked
from storage.ledger.scripts import ledger_faults
from storage.objects import ObjectMissing, ObjectStore

log = structlog.get_logger(__name__)

#: Keys that one process knows by heart.
_REMEMBERED = 10_000


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
    expires_at: int | None = None  #: from when on it is worthless, in ms
    created_by: str | None = None  #: id of the key that made it; None: an operator did

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

    def public(self, used_at: int | None = None) -> dict[str, Any]:
        """The key as people are shown it: nothing that it could be guessed from.

        Args:
            used_at: when it was last used, in ms.
        """
        return {
            "object": "key",
            "id": self.id,
            "name": self.name,
            "scopes": sorted(self.scopes),
            "created_at": self.created_at,
            "created_by": self.created_by,
            "expires_at": rfc3339(self.expires_at),
            "revoked_at": self.revoked_at,
            "last_used_at": rfc3339(used_at),
        }


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """A call that was let in."""

    key: ApiKey
    now: int  #: ms, by Redis's clock
    #: Fields of the job that was asked for, read at the same moment; empty: the tenant has none of this id.
    job: Mapping[str, str] = field(default_factory=dict)


class KeyRing:
    """The API keys of all tenants."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._store = store
        self._redis = ledger.client.redis
        self._ledger = ledger
        self._intents = IntentIndex(store)
        self._parsed = _Remembered()
        #: Tenant and rate of keys that were let in, by hash of the key and by limit.
        self._rated = _Remembered()
        self._noted: dict[str, float] = {}
        self._notes = ThreadPoolExecutor(1, "keys used")

    # --- making and ending -------------------------------------------------------------------------

    def create(
        self,
        tenant: str,
        name: str,
        *,
        scopes: frozenset[Scope] = ALL_SCOPES,
        expires_at: int | None = None,
        created_by: str | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key: its record, and the key to be shown once.

        Args:
            tenant: whose calls it lets in.
            name: what it is for.
            scopes: what it may be used for.
            expires_at: from when on it is worthless, in ms; None: never.
            created_by: id of the key that asked for it.
        """
        key_id, key = new_api_key()
        now = self._ledger.now()
        record = ApiKey(
            id=key_id,
            tenant=tenant,
            name=name,
            hash=hash_api_key(key),
            created_at=_now(),
            scopes=scopes,
            expires_at=expires_at,
            created_by=created_by,
        )
        self._save(record, now)
        return record, key

    def revoke(self, tenant: str, key_id: str) -> ApiKey:
        """Make a key worthless at once, in every process.

        Raises:
            NotFound: the tenant has no such key.
        """
        record = self.get(tenant, key_id)
        if record.revoked_at is None:
            record = replace(record, revoked_at=_now())
            self._save(record, self._ledger.now())
        return record

    def _save(self, record: ApiKey, at: int) -> None:
        self._store.put(
            TenantNames(record.tenant).key(record.id),
            record.to_json(),
            "application/json",
        )
        self._intents.record(Intent(at=at, tenant=record.tenant, subject=record.id, act=Act.KEY))
        self.restore(record)

    # --- showing -----------------------------------------------------------------------------------

    def get(self, tenant: str, key_id: str) -> ApiKey:
        """A key of this tenant.

        Raises:
            NotFound: the tenant has no such key.
        """
        if not is_id(key_id, "key"):
            raise NotFound(f"no key {shorten(key_id)}")
        try:
            return ApiKey.from_json(self._store.get(TenantNames(tenant).key(key_id)))
        except ObjectMissing:
            raise NotFound(f"no key {key_id}") from None

    def list(self, tenant: str) -> list[ApiKey]:
        """The tenant's keys, oldest first."""
        names = [info.name for info in self._store.list(TenantNames(tenant).keys)]
        return [ApiKey.from_json(self._store.get(name)) for name in names]

    def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[Sequence[ApiKey], bool]:
        """One page of keys, oldest first, and whether more follow."""
        names = TenantNames(tenant)
        start = None if after is None else names.key(after)
        found: list[ApiKey] = []
        for info in self._store.list(names.keys, start_after=start):
            if len(found) == limit:
                return found, True
            found.append(ApiKey.from_json(self._store.get(info.name)))
        return found, False

    def last_used(self, keys: Sequence[ApiKey]) -> dict[str, int]:
        """When keys were last used, to the minute, in ms. Forgotten when Redis is lost."""
        return self._ledger.admission.keys_used([key.id for key in keys])

    # --- after a loss ------------------------------------------------------------------------------

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
            known = self._redis.get(f"key:{key_id}")
        if known is not None and ApiKey.from_json(str(known)) == ApiKey.from_json(stored):
            return False
        self.restore(ApiKey.from_json(stored))
        return True

    # --- letting in ----------------------------------------------------------------------------------

    def check(self, key: str) -> ApiKey:
        """The record of a key, counted against no rate.

        Raises:
            Unauthenticated: it is no valid key. Nothing says which part was wrong.
            Forbidden: its tenant is disabled.
            Unavailable: the ledger cannot say.
        """
        looked, _ = self._ledger.admission.look(api_key_id(key) or "", "read_rate")
        return self._verified(looked, hash_api_key(key))

    def recheck(self, record: ApiKey) -> None:
        """Check a key again that let a call in which has gone on for long. Counted against no rate.

        Raises:
            Unauthenticated: it is not valid any more.
            Forbidden: its tenant is disabled now.
            Unavailable: the ledger cannot say.
        """
        looked, _ = self._ledger.admission.look(record.id, "read_rate")
        self._verified(looked, record.hash)

    def admit(self, key: str, *, write: bool, job_id: str = "") -> Admitted:
        """Let in a call that came with this key, as a rule in one round trip.

        Args:
            key: as it was sent.
            write: whether the call changes something.
            job_id: a job that it asks for, which is read too.

        Raises:
            Unauthenticated: it is no valid key. Nothing says which part was wrong.
            Forbidden: its tenant is disabled.
            RateLimited: the tenant makes more of such calls than it may.
            Unavailable: the ledger cannot say.
        """
        limit = "write_rate" if write else "read_rate"
        digest = hash_api_key(key)
        admission = self._ledger.admission
        # Only a key that was let in before is charged unseen: nobody else can use up a tenant's rate.
        remembered = (digest, limit)
        charge: tuple[str, float] | None = self._rated.get(remembered)
        looked, wait = admission.look(api_key_id(key) or "", limit, job_id, charge=charge)
        record = self._verified(looked, digest)
        if looked.rate is None:
            self._rated.drop(remembered)
        else:
            self._rated.put(remembered, (record.tenant, looked.rate))
            if charge is None:
                wait = self._charge(record.tenant, limit, looked.rate)
            if wait:
                kind = "change something" if write else "only look"
                raise RateLimited(
                    f"at most {looked.rate:g} calls a second that {kind}",
                    retry_after=-(-wait // 1000),
                )
        self._note(record.id)
        return Admitted(key=record, now=looked.now, job=looked.job)

    def _charge(self, tenant: str, limit: str, rate: float) -> int:
        try:
            return self._ledger.admission.charge(tenant, limit, rate)
        except Unavailable:
            return 0  # while Redis takes no writes nobody is counted, for reading goes on

    def _verified(self, looked: Looked, digest: str) -> ApiKey:
        """The key's record, if it is valid. Hashes are compared in constant time, also when no such key exists."""
        record = self._parse(looked.key) if looked.key else None
        matches = hmac.compare_digest(record.hash if record else "0" * 64, digest)
        expired = record is not None and (
            record.revoked_at is not None
            or (record.expires_at is not None and record.expires_at <= looked.now)
        )
        if record is None or not matches or expired:
            raise Unauthenticated("the API key is not valid")
        if looked.disabled:
            raise Forbidden("the tenant of this API key is disabled")
        return record

    def _parse(self, text: str) -> ApiKey:
        # By the text itself: a key that was revoked has another one.
        record: ApiKey | None = self._parsed.get(text)
        if record is None:
            record = ApiKey.from_json(text)
            self._parsed.put(text, record)
        return record

    def _note(self, key_id: str) -> None:
        """Have it noted that a key was used, apart from the call and at most once a minute."""
        moment = time.monotonic()
        if moment - self._noted.get(key_id, float("-inf")) < KEY_USED_MS / 1000:
            return
        if len(self._noted) >= _REMEMBERED:
            self._noted.clear()
        self._noted[key_id] = moment
        self._notes.submit(self._write_note, key_id)

    def _write_note(self, key_id: str) -> None:
        try:
            self._ledger.admission.key_used(key_id)
        except Unavailable as error:
            log.info("use of a key not noted", key=key_id, reason=error.detail)


class _Remembered:
    """Some values by what they belong to; the least recently put ones go first."""

    def __init__(self) -> None:
        self._values: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: Any) -> Any:
        return self._values.get(name)

    def put(self, name: Any, value: Any) -> None:
        if self._values.get(name) == value:
            return
        with self._lock:
            self._values[name] = value
            if len(self._values) > _REMEMBERED:
                self._values.popitem(last=False)

    def drop(self, name: Any) -> None:
        if name in self._values:
            with self._lock:
                self._values.pop(name, None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
