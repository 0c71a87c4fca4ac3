"""One child of the supervisor: what to run, and the process that runs it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from server.leash import leashed

#: A log larger than this many bytes is set aside as ``<name>.log.1`` before the next process writes to it.
LOG_BYTES = 20 << 20
#: Seconds between two looks at whether a child that is ready must be started anew.
_AILING_SECONDS = 1.0
#: What is shown of a log when a child cannot be started.
TAIL_LINES = 20
_TAIL_BYTES = 16 << 10


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """What to run, and how to tell that it is ready and make it stop."""

    name: str  #: unique among its siblings; names the log
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    inherit_env: bool = (
        True  #: whether ``env`` adds to the supervisor's environment or is all there is
    )
    #: Done before each start, while no process of it runs; what it says goes to the log. May raise OSError.
    before: Callable[[], str | None] | None = None
    #: Whether it serves now. Called from the supervisor's loop: answers within about a second, does not raise.
    #: None: ready as soon as it runs.
    ready: Callable[[], bool] | None = None
    ready_timeout: float = 30.0  #: seconds until it must be ready
    #: Why it must be started anew although it runs, or None. Asked each second once it is ready; does not raise.
    ailing: Callable[[], str | None] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 10.0  #: seconds from ``stop_signal`` to SIGKILL
    cwd: Path | None = None
    pass_fds: Sequence[int] = ()  #: file descriptors that the child keeps open, such as a lock


class Child:
    """The process of a spec, if one runs; its log; and what is known of its health.

    Each process leads a session of its own, so that Ctrl-C in the terminal reaches only the supervisor, and is on a
    leash: it is killed when the supervisor ends, however that happens.
    """

    def __init__(self, spec: ChildSpec, log_dir: Path | None) -> None:
        """Args:
        log_dir: where its log goes; None: wherever the supervisor's own output goes.
        """
        self.spec = spec
        self.log_path = None if log_dir is None else log_dir / f"{spec.name}.log"
        self.started_at = 0.0  #: monotonic clock
        self.ready_at: float | None = None  #: monotonic clock; None while not ready
        self.next_probe = 0.0  #: monotonic clock
        self.next_start = 0.0  #: monotonic clock; when to start again while there is no process
        self.deaths = 0  #: in a row, without a long time of health between them
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset: int | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, or None when there is none."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start a process. Call from the main thread: see :mod:`server.leash`.

        Raises:
            OSError: its folder, its log or Python itself cannot be used.
        """
        self.started_at = self.next_probe = time.monotonic()
        environment = {**os.environ, **self.spec.env} if self.spec.inherit_env else self.spec.env
        with self._open_log() as log:
            said = None if self.spec.before is None else self.spec.before()
            if said and log is not None:
                with contextlib.suppress(OSError):  # its disk may be full
                    log.write(f"{said}\n".encode())
            self._process = subprocess.Popen(
                leashed(self.spec.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=None if log is None else subprocess.STDOUT,
                cwd=self.spec.cwd,
                env=environment,
                pass_fds=tuple(self.spec.pass_fds),
                start_new_session=True,
            )
        self.starts += 1
        self.ready_at = None

    def exited(self) -> int | None:
        """The exit status as :class:`subprocess.Popen` has it, or None while the process runs."""
        return self._process.poll() if self._process else None

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to the process itself, not to what it has started."""
        if self._process:
            self._process.send_signal(signum)

    def end(self) -> None:
        """Kill whatever is left of the process and of what it has started, and forget it.

        The process may have been reaped before; its group's id stays taken while the group has members.
        """
        if self._process is None:
            return
        # macOS answers EPERM for a group of which only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self.ready_at = None

    def probe(self, now: float) -> bool:
        """Whether the process has become ready. Slow probes are asked less often, so that others get their turn."""
        if self.spec.ready is not None:
            if now < self.next_probe:
                return False
            answer = self.spec.ready()
            finished = time.monotonic()
            self.next_probe = finished + (finished - now)
            if not answer:
                return False
        self.ready_at = time.monotonic()
        return True

    def ailment(self, now: float) -> str | None:
        """Why the process must be started anew, or None."""
        if self.spec.ailing is None or now < self.next_probe:
            return None
        self.next_probe = now + _AILING_SECONDS
        return self.spec.ailing()

    def log_tail(self) -> str:
        """The last lines logged since the first start."""
        if self.log_path is None:
            return ""
        with contextlib.suppress(FileNotFoundError), self.log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            begin = self._log_offset or 0
            log.seek(max(begin if begin <= size else 0, size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
            return "\n".join(text.splitlines()[-TAIL_LINES:])
        return ""

    @contextlib.contextmanager
    def _open_log(self) -> Iterator[BinaryIO | None]:
        if self.log_path is None:
            yield None
            return
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > LOG_BYTES:
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
        descriptor = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if self._log_offset is None:
            self._log_offset = os.fstat(descriptor).st_size
        with os.fdopen(descriptor, "ab", buffering=0) as log:
            yield log


def describe_exit(status: int) -> str:
    """An exit status in words: ``exit status 3`` or ``killed by SIGKILL``."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
