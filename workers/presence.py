"""A worker says that it lives, what it holds and what it works on."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import structlog

from jobs.errors import Unavailable
from storage.ledger.workers import PRESENCE_MS
from workers.gauge import Gauge
from workers.runtime import Runtime

log = structlog.get_logger(__name__)


class Presence:
    """Announces one worker process in the background."""

    def __init__(self, runtime: Runtime, role: str) -> None:
        self._ledger = runtime.ledger
        self._worker_id = runtime.worker_id
        device = runtime.device
        self._facts: dict[str, Any] = {
            "id": runtime.worker_id,
            "host": socket.gethostname(),
            "role": role,
            "pid": os.getpid(),
            "device": device.name if device else None,
            "device_type": device.type if device else None,
            "devices": [one.name for one in device.group] if device else [],
            "models": [],
            "job": None,
            "busy": False,
            "fault": None,
        }
        if role == "model":
            self._facts["parent"] = os.getppid()
        self._gauge = Gauge(device)
        self._change = threading.Event()
        self._thread = threading.Thread(target=self._announce, name="presence", daemon=True)

    def start(self) -> None:
        """Begin to announce."""
        self._thread.start()

    def busy(self, busy: bool) -> None:
        """Say whether it can do without an invitation just now."""
        self._facts["busy"] = busy
        if not busy:
            self._change.set()

    def working_on(self, job_id: str | None) -> None:
        """Say which job is being computed."""
        self._facts["job"] = job_id

    def holding(self, models: tuple[str, ...]) -> None:
        """Say which models are loaded."""
        self._facts["models"] = list(models)
        self._change.set()

    def broken(self, fault: str | None) -> None:
        """Say why it cannot compute, or that it can."""
        if fault != self._facts["fault"]:
            self._facts["fault"] = fault
            self._change.set()

    def leave(self) -> None:
        """Say good-bye, so that nobody waits for the announcement to lapse."""
        try:
            self._ledger.workers.leave(self._worker_id)
        except Unavailable:
            log.info("could not say good-bye", worker=self._worker_id)

    def _announce(self) -> None:
        while True:
            try:
                self._ledger.workers.announce(self._worker_id, self._facts | self._gauge.read())
            except Unavailable as error:
                log.warning("not announced", reason=error.detail)
            self._change.wait(PRESENCE_MS / 1000 / 4)
            self._change.clear()
