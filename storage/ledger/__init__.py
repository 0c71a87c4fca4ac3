"""The ledger: what is going on now, in Redis. Every rule that must hold under races is one Lua script.

The object store is the truth; everything here can be built again from it.
"""

from __future__ import annotations

from typing import cast

import redis

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.settings import Settings
from jobs.tenants import Limits
from storage.ledger.accounts import AccountTable
from storage.ledger.admission import AdmissionTable
from storage.ledger.events import EventTable, JobEvent, Told
from storage.ledger.jobs import JobFilter, JobTable, NewJob
from storage.ledger.pressure import Pressure
from storage.ledger.ranges import Answer, Claim, CommittedPart, RangeTable, Swept
from storage.ledger.restoring import Replaced, RestoredPart, RestoreTable
from storage.ledger.schedules import DueSchedule, ScheduleCensus, ScheduleTable
from storage.ledger.scripts import LedgerClient, ledger_faults
from storage.ledger.training import TrainingTable
from storage.ledger.webhooks import DueDelivery, WebhookTable
from storage.ledger.workers import WorkerTable

__all__ = [
    "AccountTable",
    "AdmissionTable",
    "Answer",
    "Claim",
    "CommittedPart",
    "DueDelivery",
    "DueSchedule",
    "EventTable",
    "JobEvent",
    "JobFilter",
    "JobTable",
    "Ledger",
    "NewJob",
    "RangeTable",
    "Replaced",
    "RestoreTable",
    "RestoredPart",
    "ScheduleCensus",
    "ScheduleTable",
    "Swept",
    "Told",
    "TrainingTable",
    "WebhookTable",
    "WorkerTable",
]


#: Why a ledger without an epoch answers nothing.
BEING_BUILT = "the ledger is being built"


def new_epoch(owner: str) -> str:
    """A fresh epoch of an installation."""
    return f"{owner}.{new_token()}"


class Ledger:
    """Everything the ledger holds, by subject."""

    def __init__(
        self,
        client: LedgerClient,
        lease_ms: int,
        now: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.client = client
        self.admission = AdmissionTable(client, now)
        self.accounts = AccountTable(client, limits or Limits(), now)
        self.jobs = JobTable(client)
        self.events = EventTable(client)
        self.ranges = RangeTable(client, lease_ms, now)
        self.training = TrainingTable(client)
        self.workers = WorkerTable(client, now)
        self.restoring = RestoreTable(client, now)
        self.schedules = ScheduleTable(client, now)
        self.webhooks = WebhookTable(client, now)
        self.pressure = Pressure(client)

    @classmethod
    def connect(cls, settings: Settings) -> Ledger:
        """The ledger that the settings name. Opens no connection yet."""
        return cls(
            LedgerClient.connect(settings),
            int(settings.lease_seconds * 1000),
            limits=settings.limits,
        )

    def epoch(self) -> str | None:
        """What was said when the ledger became whole; None when it is not. Begins with its owner's id."""
        with ledger_faults():
            return cast("str | None", self.client.redis.get("ledger:epoch"))

    def give_up(self) -> None:
        """Say that this ledger is not to be trusted any more; nothing goes on until it was rebuilt."""
        with ledger_faults():
            self.client.redis.delete("ledger:epoch")

    def now(self) -> int:
        """Redis's clock, in ms.

        Raises:
            Unavailable: Redis is away, or the ledger is not whole.
        """
        with ledger_faults():
            pipe = self.client.redis.pipeline(transaction=False)
            pipe.time()
            pipe.exists("ledger:epoch")
            (seconds, micros), whole = pipe.execute()
        if not whole:
            raise Unavailable(BEING_BUILT)
        return int(seconds) * 1000 + int(micros) // 1000

    def require_epoch(self) -> None:
        """Check that the ledger is whole.

        Raises:
            Unavailable: it is not; what it does not know may only not have been restored yet.
        """
        if self.epoch() is None:
            raise Unavailable(BEING_BUILT)

    def probe(self) -> None:
        """Check that Redis takes writes.

        Raises:
            Unavailable: it does not.
        """
        name = f"probe:{new_token()}"
        with ledger_faults():
            self.client.redis.set(name, 1, px=1000)

    def require_noeviction(self) -> None:
        """Check that Redis never drops keys by itself: one that does forgets jobs without a word.

        Raises:
            Unavailable: its ``maxmemory-policy`` is another. It may be mended while roles wait.
        """
        try:
            with ledger_faults():
                policies = self.client.redis.config_get("maxmemory-policy")
        except redis.ResponseError:
            return  # managed services hide CONFIG; the operator answers for the policy then
        policy = policies.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            raise Unavailable(f"Redis has maxmemory-policy {policy}; it must be noeviction")

    def close(self) -> None:
        """Give back all connections."""
        self.client.close()
