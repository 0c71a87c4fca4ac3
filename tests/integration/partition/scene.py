"""Runs inside namespaces of its own: a stack with a worker on the far side, cut off in each way that there is.

``python -m tests.integration.partition.scene FOLDER`` writes what it saw to ``FOLDER/observations.json``.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from jobs.settings import Settings
from server.child import ChildSpec
from server.connect import Connections
from server.embedded import EmbeddedServices
from server.ports import LOOPBACK, free_ports
from server.supervisor import Supervisor
from storage.keys import KeyRing
from tests.integration.partition.network import CABLES, SERVERS, Network, Server
from tests.integration.partition.observation import Observation
from tests.integration.stack.running import PLUGINS, TEST_SETTINGS, environment
from tests.integration.stack.traces import Computed, read_trace
from textmill import Job, Textmill

Found = TypeVar("Found")

#: Which cables are pulled, by the name of the partition.
PARTITIONS: dict[str, tuple[Server, ...]] = {
    "redis": ("redis",),
    "store": ("store",),
    "both": SERVERS,
}

LEASE_SECONDS = 2.0
#: Rows of a job and of a shard, and how long each takes: a shard takes longer than a lease lasts.
ROWS, SHARD_ROWS, DELAY_MS = 192, 48, 50.0
#: How long a worker is cut off when the others do not end the job before, and a machine may take for the rest.
CUT_SECONDS, PATIENCE_SECONDS = 45.0, 150.0
ROUND_SECONDS = 0.02


class Scene:
    """The stack, seen from the side of the servers."""

    def __init__(self, folder: Path, network: Network, embedded: EmbeddedServices) -> None:
        self._folder = folder
        self._network = network
        self._port = free_ports(1)[0]
        self._env = {
            **environment(folder, TEST_SETTINGS, [PLUGINS]),
            **embedded.environment(),
            "TEXTMILL_DATA_DIR": str(folder),
            "TEXTMILL_PORT": str(self._port),
            "TEXTMILL_DEVICES": "cpu",
            "TEXTMILL_TORCH_THREADS": "1",
            "TEXTMILL_LEASE_SECONDS": str(LEASE_SECONDS),
            "TEXTMILL_SHARD_MAX_ROWS": str(SHARD_ROWS),
            "TEXTMILL_LOG_JSON": "true",
        }
        self._settings = Settings.from_environment(self._env)
        self._connections = Connections.open(self._settings)
        self._supervisor = Supervisor(
            [*_reachable(embedded.specs()), *self._roles()], folder / "logs", lambda _event: None
        )

    def _roles(self) -> list[ChildSpec]:
        server = [sys.executable, "-m", "server"]
        far_env = {name: _far_address(name, value) for name, value in self._env.items()}
        commands = {
            "control": [*server, "worker", "--control"],
            "scheduler": [*server, "scheduler"],
            "api": [*server, "api"],
            "near": [*server, "worker"],
        }
        roles = [
            # How they stop is not looked at here, so no time is lost with it.
            ChildSpec(name=name, command=command, env=self._env, stop_signal=signal.SIGKILL)
            for name, command in commands.items()
        ]
        command = self._network.far(*server, "worker")
        return [*roles, replace(roles[-1], name="far", command=command, env=far_env)]

    @contextmanager
    def running(self) -> Iterator[Textmill]:
        """Everything runs, and both workers have computed something."""
        with self._supervisor:
            connections = self._connections
            connections.await_installation()
            _, key = KeyRing(connections.store, connections.ledger).create("default", "test")
            with Textmill(f"http://{LOOPBACK}:{self._port}", key) as client:
                self._wait_for(lambda: connections.ledger.workers.count() == 2)
                self._far_computes(client, "begin")
                yield client

    # --- one partition -----------------------------------------------------------------------------

    def partition(self, client: Textmill, name: str) -> Observation:
        """Cut the far worker off while it computes, and let the others go on; then let it come back."""
        cables = PARTITIONS[name]
        job = self._submit(client, name)
        pid, far_range, far_token = self._wait_for(lambda: self._computing(job, name))
        ledger = self._connections.ledger.client.redis
        cut_at = time.monotonic()
        self._network.cut(cables)
        committed: dict[tuple[str, str], None] = {}

        def over() -> bool:
            for text in cast("list[str]", ledger.zrange(f"job:{job.id}:done", 0, -1)):
                part, _, token = text.partition(".")
                committed.setdefault((part, token))
            return time.monotonic() > cut_at + CUT_SECONDS or self._ended(job)

        self._wait_for(over)
        ended_at = time.monotonic() if self._ended(job) else None
        mended_at = time.monotonic()
        self._network.mend(cables)
        self._wait_for(lambda: over() and self._ended(job))
        job = job.refresh()
        far_again = self._far_computes(client, f"{name} again")
        trace = [one for one in read_trace(self._trace(name)) if _holds(far_range, one.first)]
        last = [one for one in trace if one.pid == pid and one.at < mended_at][-1]
        near = [one.at for one in trace if one.pid != pid and cut_at < one.at < mended_at]
        return Observation(
            far_range=far_range,
            far_token=far_token,
            far_row=last.last,
            cut_at=cut_at,
            far_last_at=last.at,
            stopped_at=self._stopped_at(job, cut_at, mended_at),
            taken_over_at=min(near, default=None),
            ended_at=ended_at,
            mended_at=mended_at,
            far_again_at=far_again.at,
            status=job.status,
            committed=tuple(committed),
            results=tuple(row["index"] for row in job.results()),
            errors=len(list(job.errors())),
        )

    def _submit(self, client: Textmill, name: str) -> Job:
        params = {"delay_ms": DELAY_MS, "trace": str(self._trace(name))}
        texts = [f"row {number}" for number in range(ROWS)]
        return client.jobs.create(kind="echo", input=texts, params=params)

    def _trace(self, name: str) -> Path:
        return self._folder / f"{name}.trace"

    def _of_far(self, name: str) -> Computed | None:
        """The last batch that the far worker computed."""
        found = [one for one in read_trace(self._trace(name)) if self._network.is_far(one.pid)]
        return found[-1] if found else None

    def _computing(self, job: Job, name: str) -> tuple[int, str, str] | None:
        """The far worker's process, and the range that it has begun with and its token."""
        batch = self._of_far(name)
        leases = self._connections.ledger.client.redis.hgetall(f"job:{job.id}:leases")
        for rows, token in cast("dict[str, str]", leases).items():
            if batch is not None and _holds(rows, batch.last):
                return batch.pid, rows, token
        return None

    def _far_computes(self, client: Textmill, name: str) -> Computed:
        """What the far worker first computes of another job."""
        job = self._submit(client, name)
        found = self._wait_for(lambda: self._of_far(name))
        job.cancel()
        return found

    def _ended(self, job: Job) -> bool:
        record = self._connections.ledger.jobs.find(job.id)
        return record is not None and record.ended_at is not None

    def _stopped_at(self, job: Job, cut_at: float, mended_at: float) -> float | None:
        """When the far worker logged that it dropped a range of this job, by the monotonic clock."""
        offset = time.monotonic() - time.time()
        for line in (self._folder / "logs" / "far.log").read_text().splitlines():
            entry = _json(line)
            if entry.get("event") == "dropped" and entry.get("job") == job.id:
                at = datetime.fromisoformat(entry["timestamp"]).timestamp() + offset
                if cut_at <= at <= mended_at and entry["reason"] == "LeaseLost":
                    return at
        return None

    def _wait_for(self, reached: Callable[[], Found | None]) -> Found:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not (found := reached()):
            if time.monotonic() > give_up:
                raise TimeoutError(f"not reached in {PATIENCE_SECONDS:g} s")
            self._supervisor.poll()
            time.sleep(ROUND_SECONDS)
        return found


def _reachable(specs: Sequence[ChildSpec]) -> list[ChildSpec]:
    """Valkey and SeaweedFS, on the far side's cables too."""
    listen = {
        "valkey": ["--bind", LOOPBACK, CABLES["redis"].address],
        "seaweedfs": ["-s3.ip.bind=0.0.0.0"],
    }
    return [replace(spec, command=[*spec.command, *listen[spec.name]]) for spec in specs]


def _far_address(name: str, value: str) -> str:
    """A setting as the far worker needs it."""
    if name == "TEXTMILL_REDIS_URL":
        return value.replace(LOOPBACK, CABLES["redis"].address)
    if name == "TEXTMILL_S3_ENDPOINT":
        return value.replace(LOOPBACK, CABLES["store"].address)
    return value


def _holds(name: str, index: int) -> bool:
    start, stop = name.split("-")
    return int(start) <= index < int(stop)


def _json(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def main(folder: Path) -> None:
    """Everything, one partition after the other."""
    network = Network.build()
    with ExitStack() as stack:
        stack.callback(network.close)
        embedded = stack.enter_context(EmbeddedServices.prepare(folder))
        scene = Scene(folder, network, embedded)
        with scene.running() as client:
            seen = {name: scene.partition(client, name) for name in PARTITIONS}
    data = TypeAdapter(dict[str, Observation]).dump_json(seen, indent=1)
    (folder / "observations.json").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
