"""The worker role: one Celery worker per device, and control workers without one."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import redis
import structlog
from celery import Celery
from celery.signals import worker_ready, worker_shutting_down

from jobs.devices import Device
from jobs.ids import new_token
from jobs.settings import Settings
from jobs.states import Lane
from server.child import ChildSpec
from server.connect import Connections
from server.niceness import MOST, stand_back
from server.pulse import Watchdog, messages_waiting
from server.supervisor import Event, Supervisor
from storage.broker import control_queue, make_celery, work_queues

log = structlog.get_logger(__name__)

#: Tells a pool child to commit what it has and give the rest back. Celery itself does not use it in children.
DRAIN_SIGNAL = signal.SIGUSR2

#: Steps of nice(1) by which those that compute stand back further than those that plan: to plan makes work for all.
_NICER_THAN_CONTROL = 5

#: Seconds from the end of a model worker's time to drain until it is killed.
STOP_SECONDS = 12.0

#: Modules that a spawned pool child imports; signal handlers elsewhere would silently never run there.
CHILD_IMPORTS = ("server.worker_child", "workers.tasks")


def device_environment(settings: Settings, device: Device) -> dict[str, str]:
    """What the processes of a worker on this device must find in their environment before they start."""
    environment = {"TEXTMILL_DEVICE": orjson.dumps(device.to_json()).decode()}
    environment["CUDA_VISIBLE_DEVICES"] = device.uuid or ""
    environment["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if settings.hf_offline:
        environment["HF_HUB_OFFLINE"] = "1"
    if settings.torch_threads:
        environment["OMP_NUM_THREADS"] = str(settings.torch_threads)
    return environment


def run_model_worker(settings: Settings, device: Device) -> None:
    """Work on one device until a signal stops it."""
    os.environ.update(device_environment(settings, device))
    _run(
        settings,
        role="model",
        queues=work_queues(device.type),
        processes=1,
        nicer=_NICER_THAN_CONTROL,
    )


def run_control_worker(settings: Settings, lane: Lane) -> None:
    """Plan and finalize the jobs of a lane until a signal stops it."""
    os.environ.pop("TEXTMILL_DEVICE", None)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    processes = settings.control_processes if lane is Lane.BULK else 1
    _run(settings, role="control", queues=[control_queue(lane)], processes=processes)


def _run(
    settings: Settings, *, role: str, queues: Sequence[str], processes: int, nicer: int = 0
) -> None:
    stand_back(min(MOST, settings.worker_nice + nicer) if settings.worker_nice else 0)
    Connections.open(settings).await_installation()
    app: Celery = make_celery(settings)
    app.conf.imports = CHILD_IMPORTS
    _drain_when_stopping()
    with tempfile.TemporaryDirectory(prefix="textmill-") as folder:
        os.environ["TEXTMILL_PULSE_DIR"] = folder
        _watch_children(settings, Path(folder), queues)
        log.info("worker starts", role=role, processes=processes)
        _serve(app, role, queues, processes)


def _serve(app: Celery, role: str, queues: Sequence[str], processes: int) -> None:
    app.worker_main(
        [
            "--quiet",
            "worker",
            "--queues=" + ",".join(queues),
            "--pool=prefork",
            f"--concurrency={processes}",
            f"--hostname={role}-{new_token()[:8]}@%h",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=warning",
        ]
    )


def _watch_children(settings: Settings, folder: Path, queues: Sequence[str]) -> None:
    """Look after the pool's children once they are there."""
    client = redis.Redis.from_url(
        settings.celery_broker_url, socket_timeout=5, socket_connect_timeout=2
    )

    def begin(sender: Any, **_: object) -> None:
        Watchdog(
            folder,
            lambda: sender.pool.info["processes"],
            lambda: messages_waiting(client, queues),
            settings.hang_seconds,
            # Whoever started this worker starts it again; what it holds is taken up by others.
            lambda: os._exit(1),
        ).start()

    worker_ready.connect(begin, weak=False)


def _drain_when_stopping() -> None:
    """Pass a shutdown on to the pool's children, which hear nothing of it by themselves."""
    pools: list[Any] = []

    def remember(sender: Any, **_: object) -> None:
        pools.append(sender.pool)

    def drain(**_: object) -> None:
        # Only the pool's own: another signal's default would kill billiard's semaphore tracker.
        for pid in (pid for pool in pools for pid in pool.info["processes"]):
            with suppress(ProcessLookupError):
                os.kill(pid, DRAIN_SIGNAL)

    worker_ready.connect(remember, weak=False)
    worker_shutting_down.connect(drain, weak=False)


def supervise_model_workers(settings: Settings, devices: Sequence[Device]) -> None:
    """One worker process for each device, restarted when it dies, until a signal stops them all."""
    specs = [
        ChildSpec(
            name=f"worker-{number}",
            command=[sys.executable, "-m", "server", "worker"],
            env=device_environment(settings, device),
            stop_timeout=STOP_SECONDS + settings.drain_seconds,
        )
        for number, device in enumerate(devices)
    ]
    Supervisor(specs, None, _log_event).run()


def supervise_control_workers() -> None:
    """A control worker for each lane, restarted when it dies, until a signal stops them all."""
    command = [sys.executable, "-m", "server", "worker", "--control", "--lane"]
    specs = [
        ChildSpec(name=f"control-{lane}", command=[*command, lane.value], stop_timeout=8.0)
        for lane in Lane
    ]
    Supervisor(specs, None, _log_event).run()


def _log_event(event: Event) -> None:
    log.info(event.kind, child=event.name, detail=event.detail)
