"""The API role alone: no worker moves a job, so that a test says what happens and when."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil

from jobs.ids import new_id
from jobs.ranges import RowRange
from jobs.settings import Settings
from jobs.states import Lane, Priority
from server.leash import leashed
from server.ports import free_ports
from storage.keys import KeyRing
from storage.ledger import Ledger, NewJob
from storage.objects import ObjectStore

ROOT = Path(__file__).parents[3]
TENANT = "default"
START_SECONDS = 120.0


class RunningApi:
    """One ``textmill-server api``.

    Args:
        folder: for its log.
        environment: ``TEXTMILL_*`` variables of its servers and settings.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        (self.port,) = free_ports(1)
        self.environment = {**environment, "TEXTMILL_PORT": str(self.port)}
        self.settings = Settings.from_environment(self.environment)
        self.url = f"{self.settings.api_scheme}://127.0.0.1:{self.port}"
        self.ledger = Ledger.connect(self.settings)
        self.log = folder / f"api-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.key = ""

    def start(self) -> None:
        """Start, and return once it answers; with a key."""
        inherited = {name: value for name, value in os.environ.items() if "TEXTMILL" not in name}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                leashed([sys.executable, "-m", "server", "api"]),
                env={**inherited, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        give_up = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.1)
        if not self.key:
            _, self.key = KeyRing(ObjectStore.connect(self.settings), self.ledger).create(
                TENANT, "test"
            )

    def end(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            for child in psutil.Process(self._process.pid).children(recursive=True):
                child.kill()
            self._process.kill()
            self._process.wait()
        self.ledger.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def memory(self) -> int:
        """Bytes of memory of all its processes, shared pages counted once."""
        master = psutil.Process(self.process.pid)
        return sum(one.memory_full_info().pss for one in (master, *master.children(recursive=True)))

    def waiting(self) -> float:
        """How many calls it keeps waiting, as it says itself."""
        with self.http() as http:
            lines = http.get("/metrics").text.splitlines()
        found = [one for one in lines if one.startswith("textmill_api_waiting ")]
        return float(found[0].split()[1]) if found else 0.0

    def http(self, **options: Any) -> httpx.Client:
        """A client with a valid key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(
            base_url=self.url, headers=headers, trust_env=False, timeout=60, **options
        )

    # --- jobs, as workers would move them --------------------------------------------------------

    def enter(self) -> str:
        """A job that waits to be planned."""
        job = NewJob(
            id=new_id("job"),
            tenant=TENANT,
            kind="echo",
            model=None,
            model_key="",
            name=None,
            priority=Priority.NORMAL,
            metadata={},
            max_error_rows=None,
            max_error_share=None,
            lane=Lane.QUICK,
            window_ms=None,
        )
        assert self.ledger.jobs.enter(job)
        return job.id

    def add(self, job_id: str, planner: str, rows: RowRange) -> None:
        """Make rows of a job claimable."""
        self.ledger.ranges.plan_begin(job_id, planner)
        self.ledger.ranges.add(job_id, planner, rows)

    # --- bare connections ------------------------------------------------------------------------

    def connect(self) -> socket.socket:
        """A connection, nothing sent on it yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=40)

    def head(self, line: str, headers: Sequence[str] = (), *, key: bool = True) -> bytes:
        """A request's head with a key."""
        more = [f"Authorization: Bearer {self.key}"] if key else []
        return "\r\n".join([f"{line} HTTP/1.1", "Host: a", *more, *headers, "", ""]).encode()

    def _answers(self) -> bool:
        unchecked = ssl._create_unverified_context()
        try:
            return httpx.get(f"{self.url}/healthz", verify=unchecked, trust_env=False).is_success
        except httpx.HTTPError:
            return False


def read_all(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    pieces = []
    while True:
        try:
            piece = connection.recv(1 << 16)
        except ConnectionResetError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def status_of(answer: bytes) -> int:
    """The status of a raw answer; 0 of none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
