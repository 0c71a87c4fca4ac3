"""The platform as benchmarks use it: the embedded stack with the settings that users get, and plug-in kinds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from jobs.settings import Settings
from server.devices import find_devices
from tests.integration.stack.running import PLUGINS, RunningStack
from textmill import File, Job, Textmill

ROOT = Path(__file__).parents[1]

#: Where the stack finds kinds: those of the tests and of the benchmarks, and what these import.
_PATHS = (PLUGINS, ROOT / "bench" / "plugins", ROOT)


@dataclass(frozen=True)
class Platform:
    """A running stack and a client of it."""

    stack: RunningStack
    client: Textmill
    folder: Path  #: for the benchmark's own files

    def run(self, **submission: Any) -> tuple[Job, float]:
        """Submit a job; the job as it ended, and seconds from before the submission until the end was known."""
        begun = time.perf_counter()
        job = self.client.jobs.create(**submission)
        etag: str | None = None
        # Not Job.wait: it looks ever less often, which would be measured too.
        while not job.ended:
            changed, etag = self.client.jobs.poll(job.id, seconds=25, etag=etag)
            job = changed or job
        seconds = time.perf_counter() - begun
        if job.status != "completed" or job.counts.failed:
            raise RuntimeError(f"job {job.id}: {job.status}, {job.counts}, {job.error}")
        return job, seconds

    def control_pids(self) -> list[int]:
        """The processes that plan and finalize."""
        parents = [one for one in self._parts() if " --control" in _command_line(one)]
        return [child.pid for parent in parents for child in parent.children(recursive=True)]

    def api_pids(self) -> list[int]:
        """The processes that serve HTTP."""
        parents = [one for one in self._parts() if _command_line(one).endswith(" server api")]
        return [one.pid for parent in parents for one in (parent, *parent.children(recursive=True))]

    def _parts(self) -> list[psutil.Process]:
        return psutil.Process(self.stack.up.pid).children()

    def worker_threads(self) -> int | None:
        """CPU threads that a model worker of this stack computes with; None where torch decides."""
        if find_devices("auto")[0].type != "cpu":
            return None
        worker = self.stack.process("worker")
        threads = worker.environ().get("TEXTMILL_TORCH_THREADS") if worker else None
        return int(threads) if threads else None

    def broker_url(self) -> str:
        """Where the stack's Celery messages go."""
        return Settings.from_environment(self.stack.embedded.environment()).celery_broker_url

    def upload(self, path: Path) -> File:
        """Upload a file, to be used by several jobs."""
        return self.client.files.upload(path)


@contextmanager
def platform(settings: Mapping[str, str] | None = None) -> Iterator[Platform]:
    """A fresh stack, with further settings where some are given; gone afterwards with all that it held."""
    with tempfile.TemporaryDirectory(prefix="textmill-bench-") as name:
        folder = Path(name)
        stack = RunningStack(folder / "data", settings=settings or {}, plugins=_PATHS)
        stack.data_dir.mkdir()
        try:
            stack.start()
            with Textmill(stack.client.url, stack.client.api_key) as client:
                yield Platform(stack, client, folder)
            stack.stop()
        finally:
            stack.end()


def _command_line(process: psutil.Process) -> str:
    return " ".join(process.cmdline())
