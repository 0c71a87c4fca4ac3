"""Who changed what: entries wait in a stream of the ledger until the scheduler puts them into the store.

In the store they lie as JSON lines under the tenant, in a folder for each day, in objects named by their first and last
entry. An entry may lie in two objects, where a scheduler died before it had taken what it wrote out of the stream;
readers count it once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, cast

import orjson
import structlog

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.names import TenantNames
from jobs.record import rfc3339
from storage.ledger import Ledger
from storage.ledger.scripts import ledger_faults
from storage.objects import ObjectStore

log = structlog.get_logger(__name__)

_STREAM = "audit"

#: Least number, within its ms, of an entry that never was in the stream.
_APART = 10**12

#: Entries moved into the store at once.
_BATCH = 1_000


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One change."""

    tenant: str
    action: str  #: such as ``job.submit``
    subject: str  #: id or name of what was changed
    key_id: str | None  #: with which it was asked for; None: by an operator, on the command line
    address: str | None  #: from where
    request_id: str | None
    id: str = ""  #: sorts by time; given by the log
    at: int = 0  #: ms; given by the log

    def public(self) -> dict[str, Any]:
        """The entry as the API shows it."""
        shown = asdict(self)
        del shown["tenant"]
        return {"object": "audit_entry", **shown, "at": rfc3339(self.at)}


class AuditLog:
    """The log of all tenants."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._store = store
        self._redis = ledger.client.redis

    def add(self, entry: AuditEntry) -> None:
        """Note a change that was made."""
        fields = {name: value for name, value in asdict(entry).items() if value is not None}
        for name in ("id", "at"):
            del fields[name]
        try:
            with ledger_faults():
                self._redis.xadd(_STREAM, cast("dict[Any, Any]", fields))
        except Unavailable:
            # The change was made all the same; it is known where it lies for good at once.
            now = datetime.now(UTC)
            at = int(now.timestamp() * 1000)
            # Behind those of the stream of the same ms, and like no other.
            number = _APART + int(new_token()[:12], 16)
            self._put(entry.tenant, [replace(entry, id=_entry_id(at, number), at=at)])

    def move(self) -> int:
        """Put what waits in the stream into the store; how many entries. One at a time should do so.

        Raises:
            Unavailable: store or ledger are away; what was not moved still waits.
        """
        moved = 0
        while True:
            with ledger_faults():
                found = cast("list[Any]", self._redis.xrange(_STREAM, count=_BATCH))
            if not found:
                return moved
            entries = sorted((_parse(*one) for one in found), key=_place)
            for _, group in groupby(entries, key=lambda one: _place(one)[:2]):
                some = list(group)
                self._put(some[0].tenant, some)
            with ledger_faults():
                self._redis.xdel(_STREAM, *(name for name, _ in found))
            moved += len(found)

    def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[AuditEntry], bool]:
        """One page of a tenant's entries, newest first, and whether more follow.

        Args:
            tenant: whose.
            after: id of the last entry of the page before.
            limit: most entries.
        """
        found: list[AuditEntry] = []
        for entry in self._newest_first(tenant, after):
            if len(found) == limit:
                return found, True
            found.append(entry)
        return found, False

    def _newest_first(self, tenant: str, after: str | None) -> Iterator[AuditEntry]:
        # The stream first: what is moved out of it meanwhile is met again in the store, and passed over.
        oldest = ""
        for entry in self._waiting():
            oldest = entry.id
            if entry.tenant == tenant and (after is None or entry.id < after):
                yield entry
        folder = TenantNames(tenant).audit
        days = [info.name for info in self._store.list(folder, recursive=False)]
        for day in sorted(days, reverse=True):
            if after is not None and day.removeprefix(folder).rstrip("/") > _day(_time(after)):
                continue
            for entry in self._of_day(day, after):
                if not oldest or entry.id < oldest or _number(entry.id) >= _APART:
                    yield entry

    def _of_day(self, folder: str, after: str | None) -> Iterator[AuditEntry]:
        """Entries of a day, newest first. Objects may overlap, and are read together where they do."""
        objects = [info.name for info in self._store.list(folder)]
        ahead: dict[str, AuditEntry] = {}
        for name in sorted(objects, key=lambda one: _span(one)[1], reverse=True):
            first, last = _span(name)
            if after is not None and first >= after:
                continue
            # What is newer than all that is still to be read can be told now.
            for ready in sorted((known for known in ahead if known > last), reverse=True):
                yield ahead.pop(ready)
            for line in self._store.get(name).splitlines():
                entry = AuditEntry(**orjson.loads(line))
                if after is None or entry.id < after:
                    ahead[entry.id] = entry
        for ready in sorted(ahead, reverse=True):
            yield ahead[ready]

    def _waiting(self) -> Iterator[AuditEntry]:
        """Entries of the stream, newest first."""
        stop = "+"
        while True:
            with ledger_faults():
                found = cast("list[Any]", self._redis.xrevrange(_STREAM, max=stop, count=_BATCH))
            for one in found:
                yield _parse(*one)
            if len(found) < _BATCH:
                return
            stop = f"({found[-1][0]}"

    def _put(self, tenant: str, entries: list[AuditEntry]) -> None:
        lines = b"".join(orjson.dumps(asdict(entry)) + b"\n" for entry in entries)
        day, first, last = _day(entries[0].at), entries[0].id, entries[-1].id
        name = f"{TenantNames(tenant).audit}{day}/{first}.{last}.jsonl"
        self._store.put(name, lines, "application/x-ndjson")


def _parse(name: str, fields: dict[str, str]) -> AuditEntry:
    at, _, number = name.partition("-")
    return AuditEntry(
        id=_entry_id(int(at), int(number)),
        at=int(at),
        tenant=fields["tenant"],
        action=fields["action"],
        subject=fields["subject"],
        key_id=fields.get("key_id"),
        address=fields.get("address"),
        request_id=fields.get("request_id"),
    )


def _entry_id(at: int, number: int) -> str:
    return f"audit_{at:013d}-{number:015d}"


def _time(entry_id: str) -> int:
    return int(entry_id.removeprefix("audit_").partition("-")[0])


def _number(entry_id: str) -> int:
    return int(entry_id.rpartition("-")[2])


def _place(entry: AuditEntry) -> tuple[str, str, str]:
    return entry.tenant, _day(entry.at), entry.id


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).date().isoformat()


def _span(name: str) -> tuple[str, str]:
    first, last, _ = name.rpartition("/")[2].split(".")
    return first, last
