"""From settings to connections: the one place where roles get their ledger, store and broker."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from jobs.errors import Unavailable
from jobs.settings import Settings
from storage.broker import Broker, make_celery
from storage.installation import Installation
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.set_up import set_up

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Connections:
    """What every role needs."""

    settings: Settings
    store: ObjectStore
    ledger: Ledger
    broker: Broker

    @classmethod
    def open(cls, settings: Settings) -> Connections:
        """Connections as the settings say; nothing is asked of the servers yet."""
        return cls(
            settings=settings,
            store=ObjectStore.connect(settings),
            ledger=Ledger.connect(settings),
            broker=Broker(make_celery(settings)),
        )

    def await_installation(self) -> Installation:
        """Set bucket and ledger up where that is due; wait as long as either is away."""
        pause = 0.2
        while True:
            try:
                return set_up(self.store, self.ledger)
            except Unavailable as error:
                log.warning("waiting", reason=error.detail)
                time.sleep(pause)
                pause = min(pause * 2, 5.0)
