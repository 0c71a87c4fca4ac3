"""The scheduler role: sweeps, fires schedules, delivers webhooks and keeps accounts, until it is stopped."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import structlog

from jobs.errors import Unavailable
from jobs.settings import Settings
from scheduler.accounts import Accountant
from scheduler.firing import Firer
from scheduler.sweeper import Sweeper
from scheduler.webhooks import Deliverer
from server.connect import Connections
from server.discovery import discover
from server.niceness import stand_back
from storage.acceptance import Acceptance
from storage.firing import Firings
from storage.installation import Installation
from storage.ledger.workers import PRESENCE_MS
from storage.retention import Retention
from storage.submission import Submissions

log = structlog.get_logger(__name__)

#: Seconds that a scheduler which must stop waits for looks at schedules; the next one does again what was cut off.
_STOP_SECONDS = 5.0


def run(settings: Settings) -> None:
    """Sweep, fire and deliver until SIGTERM or SIGINT."""
    # Half a core with thousands of jobs waiting, none of which is asked for by somebody who waits.
    stand_back(settings.worker_nice)
    connections = Connections.open(settings)
    installation = connections.await_installation()
    sweeper = make_sweeper(connections)
    deliverer = Deliverer(connections.store, connections.ledger, settings)
    firer = make_firer(connections, installation)

    def stop(*_: object) -> None:
        sweeper.stop()
        deliverer.stop()
        firer.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    delivering = threading.Thread(target=deliverer.run, name="webhooks", daemon=True)
    delivering.start()
    firing = threading.Thread(target=firer.run, name="schedules", daemon=True)
    firing.start()
    threading.Thread(target=_announce, args=(connections,), daemon=True).start()
    accountant = Accountant(connections.store, connections.ledger)
    accounts = threading.Thread(target=accountant.run, name="accounts", daemon=True)
    accounts.start()
    log.info("scheduler ready")
    sweeper.run()
    accountant.stop()
    delivering.join()
    firing.join(_STOP_SECONDS)


def make_sweeper(connections: Connections) -> Sweeper:
    """A sweeper as the settings say."""
    return Sweeper(
        connections.store,
        connections.ledger,
        connections.broker,
        seconds=connections.settings.sweep_seconds,
        lease=connections.settings.lease_seconds,
    )


def make_firer(connections: Connections, installation: Installation) -> Firer:
    """What fires schedules."""
    store, ledger = connections.store, connections.ledger
    submissions = Submissions(store, ledger, connections.broker, installation)
    acceptance = Acceptance(connections.settings, discover(), store, ledger)
    retention = Retention(connections.settings, store, ledger, submissions)
    return Firer(ledger, Firings(store, ledger, submissions, acceptance, retention))


def _announce(connections: Connections) -> None:
    host = socket.gethostname()
    name = f"{host}-{os.getpid()}"
    facts = {"id": name, "host": host, "role": "scheduler", "pid": os.getpid(), "device": None}
    while True:
        try:
            connections.ledger.workers.announce(name, {**facts, "models": [], "job": None})
        except Unavailable as error:
            log.warning("not announced", reason=error.detail)
        time.sleep(PRESENCE_MS / 1000 / 4)
