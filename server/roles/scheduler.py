"""The scheduler role: sweeps, delivers webhooks and keeps accounts, until it is stopped."""

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
from scheduler.sweeper import Sweeper
from scheduler.webhooks import Deliverer
from server.connect import Connections
from server.niceness import stand_back
from storage.ledger.workers import PRESENCE_MS

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Sweep and deliver until SIGTERM or SIGINT."""
    # Half a core with thousands of jobs waiting, none of which is asked for by somebody who waits.
    stand_back(settings.worker_nice)
    connections = Connections.open(settings)
    connections.await_installation()
    sweeper = make_sweeper(connections)
    deliverer = Deliverer(connections.store, connections.ledger, settings)

    def stop(*_: object) -> None:
        sweeper.stop()
        deliverer.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    delivering = threading.Thread(target=deliverer.run, name="webhooks", daemon=True)
    delivering.start()
    threading.Thread(target=_announce, args=(connections,), daemon=True).start()
    accountant = Accountant(connections.store, connections.ledger)
    accounts = threading.Thread(target=accountant.run, name="accounts", daemon=True)
    accounts.start()
    log.info("scheduler ready")
    sweeper.run()
    accountant.stop()
    delivering.join()


def make_sweeper(connections: Connections) -> Sweeper:
    """A sweeper as the settings say."""
    return Sweeper(
        connections.store,
        connections.ledger,
        connections.broker,
        seconds=connections.settings.sweep_seconds,
        lease=connections.settings.lease_seconds,
    )


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
