"""A time-ordered index of what was asked for: submissions, cancels, retries, deletions, keys, tenants,
schedules, events again.

Redis may forget its last second, and with it entries that were acknowledged. The objects that hold what was asked for
are never lost, but nobody could list all jobs of all tenants each minute. So each change of intent also leaves an
empty object here, named by its time; the sweeper goes through the last minutes and enters again what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from jobs.names import INTENTS
from storage.objects import ObjectStore

#: Digits of a time in ms; names then sort as times do.
_DIGITS = 13


class Act(StrEnum):
    """What was asked for."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"
    KEY = "key"  #: a key was made or revoked
    RESEND = "resend"  #: an event is to be told again, or one of a schedule for the first time
    SCHEDULE = "schedule"  #: a schedule was made, changed or deleted
    TENANT = "tenant"  #: a tenant's record was made or changed


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One change of intent."""

    at: int  #: ms
    tenant: str
    subject: str  #: id of the job, key, delivery or schedule, name of the tenant
    act: Act

    @property
    def name(self) -> str:
        """Of its object."""
        return f"{INTENTS}{self.at:0{_DIGITS}d}.{self.tenant}.{self.subject}.{self.act}"

    @classmethod
    def parse(cls, name: str) -> Intent:
        """The inverse of :attr:`name`.

        Raises:
            ValueError: it is no such name.
        """
        at, tenant, subject, act = name.removeprefix(INTENTS).split(".")
        return cls(at=int(at), tenant=tenant, subject=subject, act=Act(act))


class IntentIndex:
    """The index."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def record(self, intent: Intent) -> None:
        """Note an intent, before it is acknowledged."""
        self._store.put(intent.name, b"")

    def since(self, at: int) -> Iterator[Intent]:
        """Intents from this time (ms) on, oldest first."""
        after = f"{INTENTS}{at - 1:0{_DIGITS}d}~"
        for found in self._store.list(INTENTS, start_after=after):
            yield Intent.parse(found.name)

    def prune(self, before: int) -> int:
        """Drop what is older than this time (ms); how many there were."""
        count = 0
        for found in self._store.list(INTENTS):
            if Intent.parse(found.name).at >= before:
                break
            self._store.delete(found.name)
            count += 1
        return count
