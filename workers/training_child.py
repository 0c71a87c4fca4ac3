"""The process in which a training runs, as its worker sees it."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, cast

import orjson

from jobs.devices import Device
from jobs.settings import environment_without_secrets
from nlp.training.process import TrainingTask

_READ_BYTES = 64 << 10

#: A line that is longer is no event; whatever it is, it is not kept in memory.
_MOST_LINE_BYTES = 8 << 20

#: What a training never does: ask the outside for anything. Its files are there.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class TrainingDied(Exception):
    """The process of a training ended without a word: it was killed, or had hung and was."""


#: Seconds for the further processes of a training to be gone behind the first one.
_GONE_SECONDS = 5.0


class TrainingChild:
    """One process. It ends with this object, and with the process and the thread that made it; so do those that it
    starts for further devices.
    """

    def __init__(self, task: TrainingTask) -> None:
        """Args:
        task: its ``path``, ``parent`` and ``events`` are filled in here.
        """
        receiving, sending = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nlp.training.process"],
                stdin=subprocess.PIPE,
                env=environment_without_secrets() | _OFFLINE | _visible(task.device),
                pass_fds=[sending],
            )
        except BaseException:
            os.close(receiving)
            raise
        finally:
            os.close(sending)
        self._pipe = receiving
        os.set_blocking(receiving, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(receiving, selectors.EVENT_READ)
        self._rest = b""
        told = replace(task, path=tuple(sys.path), parent=os.getpid(), events=sending)
        self._say(told.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._selector.close()
        os.close(self._pipe)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Ask for a checkpoint and an end."""
        self._say(b"stop\n")

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            cast(Any, self._process.stdin).close()
        self._await_others()

    def messages(self, seconds: float) -> Iterator[dict[str, Any]]:
        """What it says within so many seconds; what has come is given at once.

        Raises:
            TrainingDied: it has ended, and everything that it said was given.
        """
        ended = self._process.poll() is not None
        if self._selector.select(0 if ended else seconds):
            data = os.read(self._pipe, _READ_BYTES)
            if data:
                *lines, self._rest = (self._rest + data).split(b"\n")
                if len(self._rest) > _MOST_LINE_BYTES:
                    raise TrainingDied("it wrote a line without an end")
                for line in lines:
                    yield orjson.loads(line)
                return
            self._process.wait()
            ended = True
        if ended:
            raise TrainingDied(_how(self._process.returncode))

    def _await_others(self) -> None:
        """Return when nobody holds a device any more: each of its processes keeps the pipe open."""
        deadline = time.monotonic() + _GONE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            if self._selector.select(left) and not os.read(self._pipe, _READ_BYTES):
                return

    def _say(self, data: bytes) -> None:
        # One that is dead already is found to be so by whoever reads what it said.
        with suppress(BrokenPipeError):
            stdin = cast(Any, self._process.stdin)
            stdin.write(data)
            stdin.flush()


def _visible(device: Device) -> dict[str, str]:
    """All GPUs of a group: a training works on each of them, in a process of its own."""
    uuids = [one.uuid for one in device.group if one.uuid]
    return {"CUDA_VISIBLE_DEVICES": ",".join(uuids)} if device.beside and uuids else {}


def _how(status: int) -> str:
    if status >= 0:
        return f"it ended with exit status {status}"
    try:
        return f"it was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was killed by signal {-status}"
