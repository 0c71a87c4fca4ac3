"""The embedded stack: every role and server on this machine, as supervised children of one process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from jobs.devices import Device
from jobs.errors import Forbidden, InvalidRequest, TextmillError, Unauthenticated, Unavailable
from jobs.settings import Settings
from jobs.states import Lane
from jobs.tenants import DEFAULT_TENANT
from server.child import ChildSpec
from server.client_config import ClientConfig
from server.connect import Connections
from server.embedded import EmbeddedServices
from server.health import ask
from server.ports import free_ports, is_free
from server.roles.worker import STOP_SECONDS, device_environment
from server.supervisor import Event, Supervisor
from storage.keys import KeyRing
from storage.ledger import Ledger

#: Port of the API where nothing else is asked for and it is free.
DEFAULT_PORT = 8080

#: Bucket for corpora that jobs may read by s3:// URIs.
CORPORA = "corpora"

#: How far workers stand back for the API and the servers.
WORKER_NICE = 10

#: Name of the key that ``up`` makes for whoever sits at this machine.
KEY_NAME = "embedded"


class PortTaken(TextmillError):
    """Another program listens on the port that was asked for."""

    code, title = "port_taken", "Port taken"


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What the command line says."""

    data_dir: Path
    port: int | None  #: None: 8080, or another where that is taken
    workers: int | None  #: model workers on the CPU; None: one for each device
    devices: tuple[Device, ...]
    extra_env: Mapping[str, str]  #: further settings for every role


class Stack:
    """The embedded stack of one data folder."""

    def __init__(self, options: StackOptions, announce: Callable[[Event], None]) -> None:
        self.data_dir = options.data_dir.resolve()
        self.port = _pick_port(options.port)
        # The API listens last: a store that had been given its port would answer in its place.
        self.services = EmbeddedServices.prepare(self.data_dir, avoid=[self.port])
        self.environment = {
            **self.services.environment(),
            "TEXTMILL_DATA_DIR": str(self.data_dir),
            "TEXTMILL_PORT": str(self.port),
            "TEXTMILL_S3_ALLOWED_PREFIXES": f"s3://{CORPORA}/",
            # All share these cores, and callers should not wait for what may take its time.
            "TEXTMILL_WORKER_NICE": str(WORKER_NICE),
            **options.extra_env,
        }
        self.url = f"{self.settings().api_scheme}://127.0.0.1:{self.port}"
        self.log_dir = self.data_dir / "logs"
        self._options = options
        self._ledger = Ledger.connect(self.settings())
        self._supervisor = Supervisor(self._specs(), self.log_dir, announce)

    def settings(self) -> Settings:
        """The settings that the stack's roles run with."""
        return Settings.from_environment(self.environment)

    def run(self, on_ready: Callable[[ClientConfig], None]) -> None:
        """Start everything, say so once it is ready to work, keep it running until a signal stops it.

        Raises:
            StartFailed: a part could not be started.
        """
        try:
            self._supervisor.run(lambda: on_ready(self._publish_client()))
        finally:
            self.services.close()

    def stop(self) -> None:
        """Let :meth:`run` come to its end."""
        self._supervisor.request_stop()

    def _publish_client(self) -> ClientConfig:
        """Write where clients find the stack, with a key that works: the one of last time, or a new one."""
        connections = Connections.open(self.settings())
        keys = KeyRing(connections.store, connections.ledger)
        path = self.data_dir / "client.toml"
        known = ClientConfig.load(path)
        if known is not None and _valid(keys, known.api_key):
            api_key = known.api_key
        else:
            _, api_key = keys.create(DEFAULT_TENANT, KEY_NAME)
        connections.store.in_bucket(CORPORA).ensure_bucket()
        config = ClientConfig(url=self.url, api_key=api_key)
        config.save(path)
        return config

    # --- children ------------------------------------------------------------------------------------

    def _specs(self) -> list[ChildSpec]:
        command = [sys.executable, "-m", "server"]
        env = self.environment
        control = [
            ChildSpec(
                name=name,
                command=[*command, "worker", "--control", "--lane", lane.value],
                env=env,
                ready=partial(self._serves, name),
                ready_timeout=60.0,
                stop_timeout=8.0,
            )
            for name, lane in (("control", Lane.BULK), ("control-quick", Lane.QUICK))
        ]
        scheduler = ChildSpec(
            name="scheduler",
            command=[*command, "scheduler"],
            env=env,
            ready=lambda: self._serves("scheduler"),
            ready_timeout=60.0,
        )
        api = ChildSpec(
            name="api",
            command=[*command, "api"],
            env=env,
            ready=lambda: _answers(f"{self.url}/readyz"),
            ready_timeout=60.0,
        )
        return [*self.services.specs(), *control, *self._workers(command), scheduler, api]

    def _workers(self, command: list[str]) -> list[ChildSpec]:
        devices = list(self._options.devices)
        count = self._options.workers or len(devices)
        divisible = devices[0].type == "cpu" and not devices[0].beside
        if count < len(devices) or (count > len(devices) and not divisible):
            expected = f"expected one for each of the {len(devices)} devices"
            if any(device.beside for device in devices):
                expected += ", of which those with + between them are one"
            raise InvalidRequest.of("workers", expected, count)
        if count > len(devices):
            devices = devices[1:] + devices[0].divided(count - len(devices) + 1)
        specs = []
        for number, device in enumerate(devices):
            env = dict(self.environment)
            if device.type == "cpu":
                threads = max(1, (psutil.cpu_count(logical=False) or 1) // count)
                env.setdefault("TEXTMILL_TORCH_THREADS", str(threads))
            settings = Settings.from_environment(env)
            env |= device_environment(settings, device)
            specs.append(
                ChildSpec(
                    name=f"worker-{number}",
                    command=[*command, "worker"],
                    env=env,
                    ready=partial(self._serves, f"worker-{number}"),
                    ready_timeout=60.0,
                    stop_timeout=STOP_SECONDS + settings.drain_seconds,
                )
            )
        return specs

    def _serves(self, name: str) -> bool:
        """Whether this child, as it runs now, has said that it works: itself, or a process of its pool."""
        pid = self._supervisor.pid(name)
        try:
            workers = self._ledger.workers.live()
        except Unavailable:
            return False
        return pid is not None and any(pid in _lineage(int(worker["pid"])) for worker in workers)


def _lineage(pid: int) -> tuple[int, ...]:
    """A process and its parent; nothing when it is gone."""
    try:
        return pid, psutil.Process(pid).ppid()
    except psutil.NoSuchProcess:
        return ()


def _valid(keys: KeyRing, key: str) -> bool:
    try:
        keys.check(key)
    except (Unauthenticated, Forbidden):
        return False
    return True


def _pick_port(asked: int | None) -> int:
    if asked and not is_free(asked):
        raise PortTaken(f"port {asked} is taken by another program; choose another with --port")
    if asked:
        return asked
    return DEFAULT_PORT if asked is None and is_free(DEFAULT_PORT) else free_ports(1)[0]


def _answers(url: str) -> bool:
    try:
        return ask(url, 2) == 200
    except OSError:
        return False


def inherited_environment() -> dict[str, str]:
    """Settings given to the command itself, which hold for every role: all ``TEXTMILL_*`` but connections."""
    ours = ("TEXTMILL_REDIS_URL", "TEXTMILL_BROKER_URL", "TEXTMILL_PORT", "TEXTMILL_DATA_DIR")
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("TEXTMILL_")
        and name not in ours
        and not name.startswith(
            ("TEXTMILL_S3_ENDPOINT", "TEXTMILL_S3_ACCESS", "TEXTMILL_S3_SECRET")
        )
    }
