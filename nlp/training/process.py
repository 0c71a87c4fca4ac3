"""The process of one training: ``python -m nlp.training.process``.

It gets its task as one line of JSON on stdin, and what happens goes as lines of JSON into a pipe of its own, for
libraries print whatever they like. Stdin stays open as long as whoever started it lives: at its end the process ends
too, wherever it is. A line ``stop`` asks for a checkpoint and an end.

The last line is one of ``{"result": …}``, ``{"failure": …}``, ``{"stopped": true}`` and ``{"died": …}``, which says how
another process of the same training ended; a process that ends without one was killed.

On a group of devices this process is rank 0 and starts one for each further device, which is told the same, but with
its own rank: see :mod:`nlp.training.ranks`.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import orjson

from jobs.devices import Device
from jobs.errors import InvalidRequest, JobFailure
from jobs.params import parse_params
from jobs.rows import ModelProduct, Success, Usage
from jobs.training import Ranks, Stopped, TrainingKind, TrainingRun
from nlp.training.ranks import RankLost, start_ranks

#: ``PR_SET_PDEATHSIG`` of ``<linux/prctl.h>``.
_PR_SET_PDEATHSIG = 1

#: Exit status of a process whose parent is gone.
_ORPHANED = 3

#: Seconds after which :attr:`TrainingRun.stopping`, when asked, says that the process goes forward.
_ALIVE_SECONDS = 1.0

#: Seconds in which the end of a process shows, when another has noticed that it does not answer.
_BLAME_SECONDS = 20.0

#: What libraries write that turn the system's error into one of their own.
_DISK_FULL_WORDS = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What the process is told."""

    kind: str  #: ``module:Class``
    params: Mapping[str, Any]  #: as submitted
    device: Device  #: the first of its group
    base: str | None
    reference: str
    data: Mapping[str, str]
    source: str
    product: str
    scratch: str
    resume: str | None
    # Filled in by whoever starts the process.
    path: tuple[str, ...] = ()  #: where the parent finds modules
    parent: int = 0  #: process id
    events: int = -1  #: file descriptor of the pipe
    rank: int = 0

    def encode(self) -> bytes:
        """One line."""
        value = {**self.__dict__, "device": self.device.to_json(), "data": dict(self.data)}
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def decode(cls, line: bytes) -> TrainingTask:
        """The inverse of :meth:`encode`."""
        value = orjson.loads(line)
        return cls(**{**value, "device": Device.from_json(value["device"])})


class _Line:
    """The way back to the parent."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._said = 0.0
        self.stop = threading.Event()

    def say(self, message: Mapping[str, Any]) -> None:
        data = orjson.dumps(
            message,
            default=_plain,
            option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS,
        )
        with self._lock:
            self._said = time.monotonic()
            self._pipe.write(data)

    def end(self, message: Mapping[str, Any]) -> NoReturn:
        """Say the last word and end the process, in whichever thread; only the first one is said."""
        self._ending.acquire()  # for good
        self.say(message)
        sys.stdout.flush()
        sys.stderr.flush()
        # Without the interpreter's own end: threads of libraries could keep it for ever.
        os._exit(0)

    def stopping(self) -> bool:
        if time.monotonic() - self._said > _ALIVE_SECONDS:
            self.say({"event": "alive"})
        return self.stop.is_set()

    def listen(self) -> None:
        """Hear the parent out, and end with it."""
        for line in sys.stdin.buffer:
            if line.strip() == b"stop":
                self.stop.set()
        os._exit(_ORPHANED)


def _plain(value: object) -> Any:
    """Numbers of numpy and torch, and paths, as JSON has them."""
    if isinstance(value, Path):
        return str(value)
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"not a JSON value: {type(value).__name__}")


def encode_success(success: Success) -> dict[str, Any]:
    """A result, to be handed to another process."""
    product = success.product
    return {
        "output": dict(success.output),
        "usage": [success.usage.input_tokens, success.usage.output_tokens],
        "product": None
        if product is None
        else {
            "name": product.name,
            "folder": str(product.folder),
            "source": product.source,
            "facts": dict(product.facts),
        },
    }


def decode_success(value: Mapping[str, Any]) -> Success:
    """The inverse of :func:`encode_success`."""
    product = value["product"]
    made = (
        None if product is None else ModelProduct(**{**product, "folder": Path(product["folder"])})
    )
    return Success(value["output"], Usage(*value["usage"]), made)


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk took no more, however a library says so."""
    seen: BaseException | None = error
    while seen is not None:
        full = isinstance(seen, OSError) and seen.errno in {errno.ENOSPC, errno.EDQUOT}
        if full or any(words in str(seen) for words in _DISK_FULL_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def disk_full(error: BaseException) -> JobFailure:
    """The failure of a training whose disk took no more."""
    reason = f"the worker's disk is full ({error}); try again where there is room"
    return JobFailure("disk_full", reason)


def _failure(kind: str, error: Exception) -> dict[str, Any]:
    if isinstance(error, InvalidRequest):
        field = error.fields[0].field if error.fields else None
        return {"code": error.code, "message": error.detail, "field": field}
    if not isinstance(error, JobFailure):
        if is_disk_full(error):
            error = disk_full(error)
        else:
            reason = f"kind {kind} failed: {type(error).__name__}: {error}"
            error = JobFailure("kind_broken", reason)
    return {"code": error.failure_code, "message": error.detail, "field": error.field}


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its parent, even where no thread of it can run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(_ORPHANED)


def _kind(task: TrainingTask) -> TrainingKind:
    sys.path += [entry for entry in task.path if entry not in sys.path]
    module, _, name = task.kind.partition(":")
    kind = getattr(importlib.import_module(module), name)()
    if not isinstance(kind, TrainingKind):
        raise TypeError(f"{task.kind} is no kind that trains")
    return kind


def _ranks(task: TrainingTask, line: _Line) -> Ranks:
    """This process among those of the training; rank 0 starts the others."""
    count = len(task.device.group)
    meeting = Path(task.scratch) / "ranks"
    if task.rank == 0:
        meeting.mkdir()

        def told(rank: int, events: int) -> bytes:
            return replace(task, rank=rank, parent=os.getpid(), events=events).encode()

        start_ranks(count, told, held=task.events, end=line.end)
    return Ranks(rank=task.rank, count=count, meeting=meeting)


def _run(task: TrainingTask, kind: TrainingKind, line: _Line) -> TrainingRun:
    together = kind.divides and len(task.device.group) > 1
    ranks = _ranks(task, line) if together else Ranks()
    scratch = Path(task.scratch)
    if ranks.rank:
        scratch /= f"rank-{ranks.rank}"
        scratch.mkdir()
    return TrainingRun(
        base=None if task.base is None else Path(task.base),
        reference=task.reference,
        data={name: Path(path) for name, path in task.data.items()},
        params=parse_params(kind, dict(task.params)),
        device=task.device.group[ranks.rank],
        source=task.source,
        product=Path(task.product),
        scratch=scratch,
        resume=None if task.resume is None else Path(task.resume),
        report=line.say if ranks.rank == 0 else _unheard,
        stopping=line.stopping,
        ranks=ranks,
    )


def _unheard(_event: Mapping[str, Any]) -> None:
    """Rank 0 tells the same."""


def _train(task: TrainingTask, line: _Line) -> Success:
    kind = _kind(task)
    return kind.train(_run(task, kind, line))


def main() -> None:
    """Train, and say what came of it."""
    task = TrainingTask.decode(sys.stdin.buffer.readline())
    _end_with(task.parent)
    os.set_inheritable(task.events, False)
    line = _Line(os.fdopen(task.events, "wb", buffering=0))
    threading.Thread(target=line.listen, name="parent", daemon=True).start()
    try:
        last: dict[str, Any] = {"result": encode_success(_train(task, line))}
    except Stopped:
        last = {"stopped": True}
    except RankLost as lost:
        # Whoever is to blame says so, or is seen to be dead, and with that the training ends, this process too.
        time.sleep(_BLAME_SECONDS)
        last = {"died": str(lost)}
    except Exception as error:  # noqa: BLE001  (whatever it is, the job should say it)
        if not isinstance(error, JobFailure | InvalidRequest):
            traceback.print_exc()
        last = {"failure": _failure(task.kind, error)}
    line.end(last)


if __name__ == "__main__":
    main()
