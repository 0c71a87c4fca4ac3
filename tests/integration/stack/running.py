"""A whole stack as users start it: ``textmill-server up`` as a process, and what it is made of."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import psutil
import redis
import urllib3
from minio import Minio

from server.client_config import ClientConfig
from server.embedded import EmbeddedConfig
from server.leash import leashed

ROOT = Path(__file__).parents[3]
PLUGINS = ROOT / "tests" / "plugins"

#: Generous: a busy machine may take long for what is done in a few seconds.
START_SECONDS = 240.0
STOP_SECONDS = 60.0
RECOVERY_SECONDS = 60.0

#: How long a worker, planner or finalizer may be silent before others take over.
LEASE_SECONDS = 3

#: Settings that make a test quick where a real job would be slow.
TEST_SETTINGS = {
    "TEXTMILL_LEASE_SECONDS": str(LEASE_SECONDS),
    "TEXTMILL_SHARD_MAX_ROWS": "500",
    "TEXTMILL_WEBHOOK_ALLOW_HTTP": "true",
    "TEXTMILL_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32",
    "TEXTMILL_WEBHOOK_TIMEOUT_SECONDS": "2",
    "TEXTMILL_WEBHOOK_RETRY_SECONDS": "0.3",
}

#: What the children of the supervisor are known by: patterns of their command lines, with a space at the end.
COMMANDS = {
    "valkey": "/valkey-server ",
    "seaweedfs": "/weed ",
    "control": " server worker --control --lane bulk ",
    "control-quick": " server worker --control --lane quick ",
    "worker": " server worker $",
    "scheduler": " server scheduler ",
    "api": " server api ",
}


def environment(
    data_dir: Path, settings: Mapping[str, str], plugins: Sequence[Path]
) -> dict[str, str]:
    """The environment of the stack's processes: nothing that this machine has configured, and the plug-ins."""
    inherited = {name: value for name, value in os.environ.items() if "TEXTMILL" not in name}
    paths = [*map(str, plugins), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **inherited,
        **settings,
        "PYTHONPATH": os.pathsep.join(paths),
        "TEXTMILL_CACHE_DIR": str(data_dir / "models"),
        "TEXTMILL_HF_OFFLINE": "true",
    }


def command(name: str) -> str:
    """Path of a command that is installed beside this Python."""
    return str(Path(sys.executable).parent / name)


class RunningStack:
    """One ``textmill-server up``, from its start to its end.

    Args:
        data_dir: everything that it keeps.
        workers: how many model workers; None: as many as it starts by itself.
        devices: what these work on; None: what it finds.
        settings: ``TEXTMILL_*`` variables.
        plugins: folders whose modules its processes find first.
        within: the beginning of a command line that turns into the rest of it by ``exec``.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        workers: int | None = None,
        devices: str | None = None,
        settings: Mapping[str, str] = TEST_SETTINGS,
        plugins: Sequence[Path] = (PLUGINS,),
        within: Sequence[str] = (),
    ) -> None:
        self.data_dir = data_dir
        self.within = within
        self.env = environment(data_dir, settings, plugins)
        self._workers = [] if workers is None else ["--workers", str(workers)]
        self._devices = [] if devices is None else ["--devices", devices]
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}

    # --- starting and stopping -------------------------------------------------------------------

    def start(self) -> None:
        """Start, and return once clients are told where to find the stack."""
        client_file = self.data_dir / "client.toml"
        before = _modified(client_file)
        with (self.data_dir / "up.log").open("ab") as log:
            options = ["--data-dir", str(self.data_dir), "--port", "0"]
            options += [*self._workers, *self._devices]
            self._process = subprocess.Popen(
                # Should the tests be killed, it is too, and all that it has started.
                leashed([*self.within, command("textmill-server"), "up", *options]),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data_dir,
            )
        wait_for(lambda: _modified(client_file) != before or self._ended(), START_SECONDS)
        assert not self._ended(), (self.data_dir / "up.log").read_text()
        self.note_processes()

    def stop(self) -> None:
        """SIGTERM; everything must be gone when it has ended."""
        self.note_processes()
        self.up.send_signal(signal.SIGTERM)
        assert self.up.wait(STOP_SECONDS) == 0
        assert self.survivors() == []

    def kill(self) -> None:
        """``kill -9`` of the supervisor alone."""
        self.note_processes()
        self.up.kill()
        self.up.wait()

    def kill_all(self) -> None:
        """``kill -9`` of every process at once, as when the machine loses its power; return once all are dead."""
        self.note_processes()
        self.up.kill()
        for process in self.survivors():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.up.wait()
        wait_for(lambda: not self.survivors(), STOP_SECONDS)

    def end(self) -> None:
        """Leave nothing behind, whatever a failed test did."""
        if self._process is not None and not self._ended():
            self.up.kill()
            self.up.wait()
        for process in self.survivors():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @property
    def up(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the stack was not started"
        return self._process

    def _ended(self) -> bool:
        return self.up.poll() is not None

    # --- processes -------------------------------------------------------------------------------

    def note_processes(self) -> None:
        """Remember every process that belongs to the stack now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.up.pid).children(recursive=True):
                self._seen[process.pid] = process

    def survivors(self) -> list[psutil.Process]:
        """Processes of the stack, past and present, that still run."""
        return [process for process in self._seen.values() if _runs(process)]

    def processes(self, name: str) -> list[psutil.Process]:
        """The processes of all children of the supervisor that are such a part, in the order of their ids."""
        found = psutil.Process(self.up.pid).children()
        return [
            one for one in found if re.search(COMMANDS[name], " ".join([*_command_line(one), ""]))
        ]

    def process(self, name: str) -> psutil.Process | None:
        """The process of one child of the supervisor, or None while there is none."""
        return next(iter(self.processes(name)), None)

    def kill_api(self) -> None:
        """Kill all processes of the API; the supervisor starts it again."""
        master = self.process("api")
        assert master is not None
        for process in (master, *master.children()):
            process.kill()

    def await_api(self) -> None:
        """Wait until the API is ready."""

        def ready() -> bool:
            try:
                return httpx.get(f"{self.client.url}/readyz", trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, RECOVERY_SECONDS)

    def pool_child(self, name: str) -> psutil.Process:
        """A process in which a Celery worker runs its tasks."""
        parent = self.process(name)
        assert parent is not None
        return pool_children(parent)[0]

    def trainers(self) -> list[psutil.Process]:
        """The processes that train, of those of one group in the order of their ranks."""
        try:
            found = psutil.Process(self.up.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        training = [one for one in found if "nlp.training.process" in _command_line(one)]
        return sorted(training, key=lambda one: _command_line(one)[-1:])

    # --- holding still ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the supervisor from starting again what dies meanwhile."""
        self.up.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.up.send_signal(signal.SIGCONT)

    # --- what it runs with -----------------------------------------------------------------------

    @property
    def client(self) -> ClientConfig:
        """Where clients find it."""
        found = ClientConfig.load(self.data_dir / "client.toml")
        assert found is not None
        return found

    @property
    def embedded(self) -> EmbeddedConfig:
        """Credentials and ports of Valkey and SeaweedFS."""
        found = EmbeddedConfig.load(self.data_dir / "embedded.json")
        assert found is not None
        return found

    def minio(self, http: urllib3.PoolManager) -> Minio:
        """A plain client of the store."""
        return Minio(
            f"127.0.0.1:{self.embedded.s3_ports.s3}",
            access_key=self.embedded.s3_access_key,
            secret_key=self.embedded.s3_secret_key,
            region="us-east-1",
            secure=False,
            http_client=http,
        )

    def redis(self) -> redis.Redis:
        """A plain client of the ledger."""
        url = self.embedded.environment()["TEXTMILL_REDIS_URL"]
        return redis.Redis.from_url(url, decode_responses=True)


def pool_children(worker: psutil.Process) -> list[psutil.Process]:
    """The processes in which this Celery worker runs its tasks, those that are on their way included."""
    try:
        children = worker.children()
    except psutil.NoSuchProcess:
        return []
    return [one for one in children if "--billiard-fork" in _command_line(one)]


def wait_for(reached: Callable[[], object], seconds: float) -> None:
    """Return once ``reached`` is true; fail after so many seconds."""
    give_up = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < give_up, f"not reached in {seconds:g} s"
        time.sleep(0.05)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _modified(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None
