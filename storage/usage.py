"""What tenants used, by day: counted in the ledger, kept in the store.

The scheduler writes each day's counts to ``usage/<day>.json`` again and again while they grow. Those objects are the
truth: a rebuild counts on from them, so that a Redis that is lost whole takes no more than the last minute with it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any, cast

import structlog

from jobs.errors import Unavailable
from jobs.names import TenantNames
from storage.ledger import Ledger
from storage.objects import ObjectMissing, ObjectStore

log = structlog.get_logger(__name__)

#: Seconds between two times that a process tells the ledger of the calls it let in.
TELL_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a tenant used in some time."""

    requests: int = 0  #: calls that were let in
    rows: int = 0  #: rows that got a result
    failed_rows: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    device_ms: int = 0
    bytes_uploaded: int = 0

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> Usage:
        """Of counts by name; others than these are ignored."""
        return cls(**{one.name: int(counts.get(one.name, 0)) for one in fields(cls)})

    def public(self) -> dict[str, Any]:
        """The usage as the API shows it."""
        shown: dict[str, Any] = {**self.__dict__}
        shown["device_seconds"] = round(shown.pop("device_ms") / 1000, 3)
        return shown

    def __add__(self, other: Usage) -> Usage:
        names = [one.name for one in fields(self)]
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in names})


class UsageBook:
    """The usage of all tenants."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._store = store
        self._accounts = ledger.accounts

    def read(self, tenant: str, first: date, last: date) -> list[tuple[date, Usage]]:
        """The days from first to last on which the tenant used anything, in order."""
        names = TenantNames(tenant)
        before = names.usage_of(first - timedelta(days=1))
        found: dict[date, Usage] = {}
        for info in self._store.list(names.usage, start_after=before):
            day = _day_of(info.name)
            if day is None or day > last:
                break
            found[day] = Usage.of(self._stored(tenant, day))
        for day in self._recent():
            counts = self._accounts.used(tenant, day) if first <= day <= last else {}
            if counts:
                found[day] = Usage.of(_most(found[day].__dict__ if day in found else {}, counts))
        return sorted(found.items())

    def save(self) -> int:
        """Put into the store what was counted lately; how many records were written."""
        written = 0
        for day in self._recent():
            for tenant in sorted(self._accounts.users(day)):
                counts, stored = self._accounts.used(tenant, day), self._stored(tenant, day)
                # A Redis that came back without its last second knows less than the store does.
                merged = _most(stored, counts)
                if merged != stored:
                    self._store.put_json(TenantNames(tenant).usage_of(day), merged)
                    written += 1
        return written

    def restore(self, tenant: str) -> None:
        """Count on from what the store knows."""
        for day in self._recent():
            stored = self._stored(tenant, day)
            if stored:
                self._accounts.restore_used(tenant, day, stored)

    def _recent(self) -> list[date]:
        """Days on which something may be counted that is not in the store yet, the last one last."""
        today = self._accounts.today()
        return [today - timedelta(days=1), today]

    def _stored(self, tenant: str, day: date) -> dict[str, int]:
        try:
            found = self._store.get_json(TenantNames(tenant).usage_of(day))
        except ObjectMissing:
            return {}
        return cast("dict[str, int]", found)


class RequestCounter:
    """Counts the calls of each tenant in this process, and tells the ledger from time to time.

    What a process has not told when it ends, a few seconds of calls, is not counted.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._admission = ledger.admission
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._timer: threading.Timer | None = None

    def count(self, tenant: str) -> None:
        """Count one call."""
        with self._lock:
            self._calls[tenant] += 1
            if self._timer is None:
                self._timer = threading.Timer(TELL_SECONDS, self.tell)
                self._timer.daemon = True
                self._timer.start()

    def tell(self) -> None:
        """Tell the ledger of what was counted."""
        with self._lock:
            calls, self._calls, self._timer = self._calls, Counter(), None
        if not calls:
            return
        try:
            self._admission.count(calls)
        except Unavailable as error:
            log.info("calls not counted yet", reason=error.detail)
            with self._lock:
                self._calls.update(calls)  # with the next ones


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}


def _day_of(name: str) -> date | None:
    try:
        return date.fromisoformat(name.rpartition("/")[2].removesuffix(".json"))
    except ValueError:
        return None
