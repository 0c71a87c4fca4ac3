"""Runs in each Celery pool child: makes its connections, and lets it die with its parent.

Imported because it stands in ``imports`` of the Celery configuration. A spawned child starts from
nothing, so it reads the settings anew, from the environment that its parent was given.
"""

from __future__ import annotations

import gc
import signal
from pathlib import Path

import orjson
import structlog
from celery.signals import (
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_process_shutdown,
)

from jobs.devices import Device
from jobs.settings import Settings
from server.connect import Connections
from server.discovery import discover
from server.leash import die_with_parent
from server.logs import configure_logs
from server.pulse import Pulse
from server.roles.worker import DRAIN_SIGNAL
from workers.presence import Presence
from workers.process import WorkerProcess, current, install
from workers.runtime import Runtime

log = structlog.get_logger(__name__)

#: Objects made, and collections of younger ones, between two collections of each generation; Python's are 700, 10, 10.
_GC_THRESHOLDS = (50_000, 20, 20)


@worker_process_init.connect(weak=False)
def start(**_: object) -> None:
    """Make this process ready for tasks."""
    die_with_parent()
    settings = Settings()
    configure_logs(settings)
    connections = Connections.open(settings)
    device = Device.from_json(orjson.loads(settings.device)) if settings.device else None
    runtime = Runtime(
        settings=settings,
        store=connections.store,
        ledger=connections.ledger,
        broker=connections.broker,
        kinds=discover(),
        device=device,
    )
    signal.signal(DRAIN_SIGNAL, lambda *_: runtime.draining.set())
    presence = Presence(runtime, "model" if device else "control")
    presence.start()
    install(WorkerProcess(runtime, presence))
    if settings.pulse_dir is not None:
        _beat(settings.pulse_dir)
    # Rows are small objects without cycles, by the million: looking for cycles among them is for nothing.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _beat(folder: Path) -> None:
    """Let the parent see that this process goes forward."""
    pulse = Pulse(folder)
    task_prerun.connect(lambda **_: pulse.busy(True), weak=False)
    task_postrun.connect(lambda **_: pulse.busy(False), weak=False)
    pulse.start()


@worker_process_shutdown.connect(weak=False)
def stop(**_: object) -> None:
    """Say good-bye."""
    current().presence.leave()
