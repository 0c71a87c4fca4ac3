"""A large file up and down: memory of API and client, going on after both were broken off, and speed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
import urllib3
from rich.console import Console

from bench.entry import Entry
from bench.peaks import can_measure, forget_peaks, peak_bytes
from bench.stack import Platform, platform

Value = TypeVar("Value")

_BYTES = 3_000_000_000
_MIB = 1 << 20
_MOST_MIB = 150.0

#: Between two looks at a client's peak.
_LOOK_SECONDS = 0.05

#: What the file is called, and how minio-py cuts it: as the client does.
_NAME = "transfer.bin"
_RAW_PART_BYTES = 8 << 20


@dataclass
class _Found:
    """What was measured."""

    size: int
    api: int = 0  #: most bytes held by a process of the API
    client: int = 0  #: and by the client's
    seconds: dict[str, float] = field(default_factory=dict)
    kept: dict[str, float] = field(
        default_factory=dict
    )  #: share that was there when it was broken off

    def rate(self, name: str) -> float:
        return self.size / 1e6 / self.seconds[name]


def transfer(console: Console, scale: float) -> Iterator[Entry]:
    """Measure uploads and downloads of one large file through the client's command.

    Raises:
        RuntimeError: this system does not tell peaks, or a file came back changed.
    """
    if not can_measure():
        raise RuntimeError("the transfer benchmark needs Linux: it reads peaks from /proc")
    size = max(128 * _MIB, round(_BYTES * scale))
    with platform() as running:
        found = _Transfers(running, size, console).run()
    for role in ("api", "client"):
        held = getattr(found, role) / _MIB
        yield Entry(
            id=f"transfer-{role}",
            metric=f"peak MiB of the {role}, {size / 1e9:.2f} GB up and down, broken off and gone on with",
            ours=held,
            peer=_MOST_MIB,
            peer_name="the most that is allowed",
            higher_is_better=False,
            goal=f"at most {_MOST_MIB:g} MiB, checksums equal, what had arrived not sent again",
            met=held <= _MOST_MIB,
            scale=scale,
            detail={"kept": found.kept},
        )
    for name, peer in (("upload", "raw_upload"), ("download", "raw_download")):
        yield Entry(
            id=f"transfer-{name}",
            metric=f"MB/s of the {name}, from the start of the command to its end",
            ours=found.rate(name),
            peer=found.rate(peer),
            peer_name="minio-py straight to the same store, in parts of 8 MiB",
            higher_is_better=True,
            goal="none",
            met=True,
            scale=scale,
            detail={"seconds": found.seconds},
        )


class _Transfers:
    """The turns of one run."""

    def __init__(self, running: Platform, size: int, console: Console) -> None:
        self._running = running
        self._console = console
        self._source = running.folder / _NAME
        self._target = running.folder / "copy"
        self._part = running.folder / "copy.part"
        self._found = _Found(size)
        self._digest = _write(self._source, size)

    def run(self) -> _Found:
        forget_peaks(self._running.api_pids())
        file_id = self._timed("upload", lambda: self._put(_NAME))
        self._timed("download", lambda: self._get(file_id))
        self._check()
        self._running.client.files.delete(file_id)
        self._look_at_api()
        self._target.unlink()
        broken = self._broken_upload()
        self._broken_download(broken)
        self._check()
        self._running.client.files.delete(broken)
        self._raw()
        return self._found

    # --- broken off ------------------------------------------------------------------------------

    def _broken_upload(self) -> str:
        """Kill the client in the middle, then the API under its successor."""
        name = "broken.bin"
        first = self._start("files", "put", str(self._source), "--name", name, "--json")
        self._until(first, lambda: self._arrived(name) >= 0.4)
        first.kill()
        first.wait()
        self._found.kept["upload, client killed"] = self._arrived(name)
        second = self._start("files", "put", str(self._source), "--name", name, "--json")
        self._until(second, lambda: self._arrived(name) >= 0.7)
        self._look_at_api()
        self._found.kept["upload, API killed"] = self._arrived(name)
        for pid in self._running.api_pids():
            os.kill(pid, signal.SIGKILL)
        return self._id(self._end(second))

    def _broken_download(self, file_id: str) -> None:
        """Kill the client in the middle, and let another one end it while the API dies under it."""
        command = ("files", "get", file_id, "-o", str(self._target), "--json")
        first = self._start(*command)
        self._until(first, lambda: self._saved() >= 0.4)
        first.kill()
        first.wait()
        self._found.kept["download, client killed"] = self._saved()
        second = self._start(*command)
        self._until(second, lambda: self._saved() >= 0.7)
        self._look_at_api()
        self._found.kept["download, API killed"] = self._saved()
        for pid in self._running.api_pids():
            os.kill(pid, signal.SIGKILL)
        try:
            self._end(second)
        except (
            RuntimeError
        ) as error:  # it was away for longer than a download bears; what arrived is kept
            self._console.print(f"transfer: {error}")
            self._get(file_id)
        self._look_at_api()

    def _arrived(self, name: str) -> float:
        """Share of an unfinished upload that the store has. Asks nobody who is measured."""
        with urllib3.PoolManager() as http:
            store = self._running.stack.minio(http)
            prefix = "tenants/default/uploads/"
            names = [str(one.object_name) for one in store.list_objects("textmill", prefix, True)]
        sizes = [int(one.split("-")[2]) for one in names if "/parts/" in one]
        return sum(sizes) / self._found.size

    def _saved(self) -> float:
        return self._part.stat().st_size / self._found.size if self._part.exists() else 0.0

    # --- the client's command --------------------------------------------------------------------

    def _put(self, name: str) -> str:
        return self._id(
            self._end(self._start("files", "put", str(self._source), "--name", name, "--json"))
        )

    def _get(self, file_id: str) -> str:
        self._end(self._start("files", "get", file_id, "-o", str(self._target), "--json"))
        return file_id

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        at = self._running.stack.client
        return subprocess.Popen(
            [sys.executable, "-m", "textmill", *arguments],
            env={**os.environ, "TEXTMILL_URL": at.url, "TEXTMILL_API_KEY": at.api_key},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _until(self, process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
        while not reached():
            if process.poll() is not None:
                raise RuntimeError("a transfer was over before it could be broken off")
            self._look(process)
            time.sleep(_LOOK_SECONDS)

    def _end(self, process: subprocess.Popen[str]) -> str:
        """What a command printed."""
        while process.poll() is None:
            self._look(process)
            time.sleep(_LOOK_SECONDS)
        out, err = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"a transfer failed: {err or out}")
        return out

    def _look(self, process: subprocess.Popen[str]) -> None:
        self._found.client = max(self._found.client, peak_bytes([process.pid]))

    def _look_at_api(self) -> None:
        pids = [pid for pid in self._running.api_pids() if psutil.pid_exists(pid)]
        self._found.api = max(self._found.api, peak_bytes(pids))

    @staticmethod
    def _id(printed: str) -> str:
        return str(json.loads(printed)["id"])

    # --- beside it -------------------------------------------------------------------------------

    def _raw(self) -> None:
        with urllib3.PoolManager(maxsize=8) as http:
            store = self._running.stack.minio(http)
            self._timed(
                "raw_upload",
                lambda: store.fput_object(
                    "textmill",
                    "raw",
                    str(self._source),
                    part_size=_RAW_PART_BYTES,
                    num_parallel_uploads=3,
                ),
            )
            raw = self._running.folder / "raw"
            self._timed("raw_download", lambda: store.fget_object("textmill", "raw", str(raw)))
            store.remove_object("textmill", "raw")
            raw.unlink()

    def _timed(self, name: str, act: Callable[[], Value]) -> Value:
        begun = time.perf_counter()
        value = act()
        self._found.seconds[name] = time.perf_counter() - begun
        self._console.print(f"transfer: {name} {self._found.rate(name):.0f} MB/s")
        return value

    def _check(self) -> None:
        if _digest(self._target) != self._digest:
            raise RuntimeError("the file came back changed")


def _write(path: Path, size: int) -> str:
    """Bytes that no two MiB share and nothing compresses; their SHA-256."""
    block = random.Random(0).randbytes(_MIB)  # noqa: S311 - not for secrets
    digest = hashlib.sha256()
    with path.open("wb") as sink:
        for number in range(-(-size // _MIB)):
            piece = (number.to_bytes(8, "big") + block[8:])[: size - number * _MIB]
            digest.update(piece)
            sink.write(piece)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
