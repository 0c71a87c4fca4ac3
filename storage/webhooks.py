"""Deliveries of webhooks: what is to be told, and what came of each attempt.

The store holds them; the ledger knows when they are due. A record is written whole again after each attempt, by whoever
has the attempt's lease.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Any

import orjson

from jobs.errors import Conflict, NotFound
from jobs.names import JobNames, TenantNames
from jobs.record import JobRecord, rfc3339
from jobs.webhooks import (
    WebhookSpec,
    event,
    event_body,
    event_id,
    is_event_id,
    is_schedule_event_id,
)
from storage.intents import Act, Intent, IntentIndex
from storage.ledger import Ledger
from storage.objects import ObjectMissing, ObjectStore
from storage.schedules import newest_revision
from storage.submission import SubmittedJob

#: Attempts that a record tells of; of more the newest.
KEPT_ATTEMPTS = 25


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"  #: it is attempted, or will be
    DELIVERED = "delivered"  #: the receiver said that it has it
    FAILED = "failed"  #: given up after a day
    GONE = "gone"  #: the receiver answered 410: it wants no more of it


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt to deliver."""

    at: int  #: ms
    seconds: float
    status: int | None  #: what the receiver answered
    error: str | None  #: code, where it gave no answer

    def public(self) -> dict[str, Any]:
        return {**asdict(self), "at": rfc3339(self.at)}


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """``webhooks/<id>.json``. Holds neither the URL nor the secret: they are in ``job.json``, or in the newest revision
    of the schedule."""

    id: str  #: of the event, and the header ``webhook-id`` of every attempt
    tenant: str
    event: dict[str, Any]  #: what is sent
    created_at: int  #: ms
    since: int  #: ms; when it was last asked for, from which the time to give up counts
    job: str | None = None  #: whose end it tells
    schedule: str | None = None  #: or what it tells of
    status: DeliveryStatus = DeliveryStatus.PENDING
    next_attempt_at: int | None = None  #: ms
    tries: int = 0  #: since it was last asked for
    attempt_count: int = 0  #: in all
    attempts: list[Attempt] = field(default_factory=list)  #: the newest ones, oldest first

    @property
    def body(self) -> bytes:
        """What is sent, always the same bytes."""
        return event_body(self.event)

    def after(
        self, attempt: Attempt, status: DeliveryStatus, next_attempt_at: int | None
    ) -> Delivery:
        """The record once an attempt was made."""
        return replace(
            self,
            status=status,
            next_attempt_at=next_attempt_at,
            tries=self.tries + 1,
            attempt_count=self.attempt_count + 1,
            attempts=[*self.attempts, attempt][-KEPT_ATTEMPTS:],
        )

    def public(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "id": self.id,
            "object": "delivery",
            "job": self.job,
            "schedule": self.schedule,
            "type": self.event["type"],
            "status": self.status.value,
            "created_at": rfc3339(self.created_at),
            "next_attempt_at": rfc3339(self.next_attempt_at),
            "attempt_count": self.attempt_count,
            "attempts": [attempt.public() for attempt in self.attempts],
        }

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> Delivery:
        entry = orjson.loads(data)
        entry["attempts"] = [Attempt(**one) for one in entry["attempts"]]
        entry["status"] = DeliveryStatus(entry["status"])
        return cls(**entry)


class DeliveryTable:
    """The deliveries of all tenants."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def open(self, record: JobRecord) -> str | None:
        """See that the event of a job's end is told: its id, or None when nobody is to be told or it is at its end.

        Harmless when repeated. The record of the event is there when this returns; the ledger is to learn of it next.

        Args:
            record: the ended job, as its manifest has it.
        """
        if not record.webhook:
            return None
        at = record.ended_at or record.now
        new = Delivery(
            id=event_id(record),
            tenant=record.tenant,
            job=record.id,
            event=event(record),
            created_at=at,
            since=at,
            next_attempt_at=at,
        )
        pending, _ = self.enter(new)
        return new.id if pending else None

    def enter(self, new: Delivery) -> tuple[bool, bool]:
        """Write the record of an event, unless there is one of its id; whether it is pending, and whether it is new."""
        name = TenantNames(new.tenant).delivery(new.id)
        if self._store.put_once(name, new.to_json()):
            return True, True
        known = Delivery.from_json(self._store.get(name))
        return known.status is DeliveryStatus.PENDING, False

    def get(self, tenant: str, delivery_id: str) -> Delivery:
        """A delivery.

        Raises:
            ObjectMissing: there is none.
        """
        return Delivery.from_json(self._store.get(TenantNames(tenant).delivery(delivery_id)))

    def save(self, delivery: Delivery) -> None:
        """Write what came of an attempt."""
        name = TenantNames(delivery.tenant).delivery(delivery.id)
        self._store.put(name, delivery.to_json(), "application/json")

    def target(self, delivery: Delivery) -> WebhookSpec | None:
        """Where it goes; None when the job or schedule was deleted, or tells nobody any more."""
        if delivery.schedule is not None:
            found = newest_revision(self._store, delivery.tenant, delivery.schedule)
            return None if found is None or found.deleted else found.spec.webhook
        try:
            data = self._store.get(JobNames(delivery.tenant, delivery.job or "").spec)
        except ObjectMissing:
            return None
        return SubmittedJob.from_json(data).spec.webhook

    def of(self, tenant: str, subject_id: str, after: str | None = None) -> Iterator[Delivery]:
        """The deliveries of a job or schedule, by their ids."""
        names = TenantNames(tenant)
        start = None if after is None else names.delivery(after)
        return self._listed(names.deliveries(subject_id), start)

    def of_schedules(self, tenant: str) -> Iterator[Delivery]:
        """The deliveries of all of a tenant's schedules."""
        return self._listed(TenantNames(tenant).schedules_deliveries)

    def _listed(self, prefix: str, start: str | None = None) -> Iterator[Delivery]:
        for found in self._store.list(prefix, start_after=start):
            yield Delivery.from_json(self._store.get(found.name))

    def page(
        self, tenant: str, subject_id: str, *, after: str | None, limit: int
    ) -> tuple[list[Delivery], bool]:
        """Some deliveries of a job or schedule, and whether more follow."""
        found = list(islice(self.of(tenant, subject_id, after), limit + 1))
        return found[:limit], len(found) > limit

    def restore(self, tenant: str, ledger: Ledger, token: str) -> None:
        """Enter what is still to be told of a tenant's schedules into a ledger that is being built."""
        for delivery in self.of_schedules(tenant):
            if delivery.status is DeliveryStatus.PENDING:
                ledger.webhooks.enter(tenant, delivery.id, restorer=token)


class Resending:
    """Sends events again on request: the object first, then the ledger."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._table = DeliveryTable(store)
        self._ledger = ledger
        self._intents = IntentIndex(store)

    def resend(self, tenant: str, subject_id: str, delivery_id: str) -> Delivery:
        """Have an event of a job or schedule sent again, under its id, whatever came of it before.

        Raises:
            NotFound: it has no such delivery.
            Conflict: it was deleted meanwhile, or has no webhook any more.
        """
        # Nothing else of what a caller gave becomes part of an object's name.
        known = is_event_id(delivery_id, subject_id) or is_schedule_event_id(
            delivery_id, subject_id
        )
        if not known:
            raise NotFound(f"no such delivery of {subject_id}")
        try:
            delivery = self._table.get(tenant, delivery_id)
        except ObjectMissing:
            raise NotFound(f"no such delivery of {subject_id}") from None
        if self._table.target(delivery) is None:
            raise Conflict(f"{subject_id} was deleted, or has no webhook any more")
        now = self._ledger.now()
        delivery = replace(
            delivery, status=DeliveryStatus.PENDING, since=now, tries=0, next_attempt_at=now
        )
        self._intents.record(Intent(at=now, tenant=tenant, subject=delivery_id, act=Act.RESEND))
        self._table.save(delivery)
        self._ledger.webhooks.enter(tenant, delivery_id, hurry=True)
        return delivery

    def follow(self, tenant: str, delivery_id: str) -> bool:
        """Make the ledger know what was asked for; whether it did not."""
        try:
            delivery = self._table.get(tenant, delivery_id)
        except ObjectMissing:
            return False
        pending = delivery.status is DeliveryStatus.PENDING
        return pending and self._ledger.webhooks.enter(tenant, delivery_id)
