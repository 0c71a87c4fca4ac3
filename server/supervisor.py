"""Runs child processes: starts them in order, restarts those that die, stops them in reverse order.

Everything happens in the thread that calls, which must be the main one: signal handlers only set flags, and one round
of :meth:`Supervisor.poll` looks at every child.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import ClassVar, Literal, Self

from jobs.errors import TextmillError
from server.child import Child, ChildSpec, describe_exit

#: Seconds between two rounds.
ROUND_SECONDS = 0.1
#: Seconds before a child that died is started again: the first one doubles with each death up to the second.
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
#: After this many seconds of health a child's earlier deaths are forgotten.
HEALTHY_SECONDS = 10.0
#: A child that dies more often than this during its first start makes the whole start fail.
START_DEATHS = 3

EventKind = Literal["starting", "ready", "died", "restarting", "stopping", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a child."""

    name: str
    kind: EventKind
    detail: str = ""  #: for people
    #: ready: since its start; died: how long it ran; restarting: until then; stopped: how long stopping took
    seconds: float = 0.0


class StartFailed(TextmillError):
    """A child could not be started; everything that had been started was stopped again."""

    code: ClassVar[str] = "start_failed"
    title: ClassVar[str] = "Start failed"

    def __init__(self, name: str, reason: str, log_tail: str) -> None:
        shown = f"; the end of its log:\n{log_tail}" if log_tail else "; its log is empty"
        super().__init__(f"{name} could not be started: {reason}{shown}")
        self.name = name
        self.reason = reason
        self.log_tail = log_tail


def restart_delay(deaths: int) -> float:
    """Seconds to wait after the given number of deaths in a row (at least 1)."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(deaths - 1, 32))


class Supervisor:
    """Runs the children of ``specs``; their output goes to ``<log_dir>/<name>.log``.

    :meth:`run` does everything. Used as a context manager, it starts on entry and stops on exit, and the caller calls
    :meth:`poll` from time to time.

    Args:
        specs: in the order of starting; each waits until the one before it is ready.
        log_dir: made where it does not exist; None: children write where this process does.
        announce: called with every event, from the loop.

    Raises:
        ValueError: two specs have one name.
    """

    def __init__(
        self, specs: Sequence[ChildSpec], log_dir: Path | None, announce: Callable[[Event], None]
    ) -> None:
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            raise ValueError(f"expected different names, found {names}")
        self._children = {spec.name: Child(spec, log_dir) for spec in specs}
        self._log_dir = log_dir
        self._announce = announce
        self._begun: list[Child] = []
        self._first_start: Child | None = None
        self._stop_requested = False
        self._kill_requested = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def pid(self, name: str) -> int | None:
        """Process id of a child, or None while it has no process."""
        return self._children[name].pid

    def restarts(self, name: str) -> int:
        """How often a child has been started again."""
        return max(0, self._children[name].starts - 1)

    def is_ready(self, name: str) -> bool:
        """Whether a child runs and was ready when last asked."""
        return self._children[name].ready_at is not None

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for, by a signal or by :meth:`request_stop`."""
        return self._stop_requested

    def request_stop(self) -> None:
        """Let :meth:`run` or :meth:`start` come to its end. May be called from any thread and any signal handler."""
        self._stop_requested = True

    def run(self, on_started: Callable[[], None] | None = None) -> None:
        """Start everything, keep it running, and stop it on SIGTERM, SIGHUP, Ctrl-C or :meth:`request_stop`.

        A second Ctrl-C kills at once. ``on_started`` is called once all are ready; what it raises stops everything.

        Raises:
            StartFailed: a child could not be started.
        """
        with self._signals():
            try:
                self.start()
                if on_started is not None and not self._stop_requested:
                    on_started()
                while not self._stop_requested:
                    self.poll()
                    time.sleep(ROUND_SECONDS)
            finally:
                self.stop()

    def start(self) -> None:
        """Start the children one after another, each once the one before is ready. Returns early on a stop request.

        Raises:
            StartFailed: a child died too often or was not ready in time; all are stopped.
        """
        if self._log_dir is not None:
            self._log_dir.mkdir(parents=True, exist_ok=True)
        try:
            for child in self._children.values():
                self._first_start = child
                self._begun.append(child)
                while child.ready_at is None:
                    if self._stop_requested:
                        return
                    self.poll()
                    if child.ready_at is None:
                        time.sleep(ROUND_SECONDS)
            self._first_start = None
        except BaseException:
            self.stop()
            raise

    def poll(self) -> None:
        """One round: notice deaths, start again what is due, ask those that are starting whether they are ready.

        Raises:
            StartFailed: as :meth:`start`, while it is under way.
        """
        for child in self._begun:
            self._poll_child(child, time.monotonic())

    def _poll_child(self, child: Child, now: float) -> None:
        if child.pid is None:
            if now >= child.next_start:
                self._tell(child, "starting")
                try:
                    child.start()
                except OSError as error:  # its folder or Python itself is gone
                    self._died(child, str(error), now)
            return
        status = child.exited()
        if status is not None:
            self._died(child, describe_exit(status), now)
        elif child.ready_at is not None:
            self._poll_ready(child, now - child.ready_at, now)
        elif child.probe(now):
            self._tell(child, "ready", seconds=time.monotonic() - child.started_at)
        elif now - child.started_at > child.spec.ready_timeout:
            reason = f"not ready after {child.spec.ready_timeout:g} s"
            if child is self._first_start:
                raise StartFailed(child.spec.name, reason, child.log_tail())
            self._died(child, reason, now)

    def _poll_ready(self, child: Child, healthy: float, now: float) -> None:
        if healthy > HEALTHY_SECONDS:
            child.deaths = 0
        ailment = child.ailment(now)
        if ailment is not None:
            self._died(child, ailment, now)

    def _died(self, child: Child, reason: str, now: float) -> None:
        child.end()  # also what it has started and left behind
        child.deaths += 1
        self._tell(child, "died", reason, seconds=now - child.started_at)
        if child is self._first_start and child.deaths > START_DEATHS:
            reason = f"it died {child.deaths} times, at last with {reason}"
            raise StartFailed(child.spec.name, reason, child.log_tail())
        delay = restart_delay(child.deaths)
        child.next_start = now + delay
        self._tell(child, "restarting", f"in {delay:g} s", seconds=delay)

    def stop(self) -> None:
        """Stop the children in reverse order of starting. Harmless when nothing runs.

        Each gets its stop signal, then SIGKILL after its timeout. When this is interrupted, all are killed.
        """
        self._stop_requested = True
        try:
            while self._begun:
                self._stop_child(self._begun[-1])
                self._begun.pop()
        finally:
            while self._begun:
                self._begun.pop().end()
            self._first_start = None
            self._stop_requested = self._kill_requested = False

    def _stop_child(self, child: Child) -> None:
        if child.pid is None:
            return
        begun = time.monotonic()
        self._tell(child, "stopping")
        child.signal(child.spec.stop_signal)
        while (status := child.exited()) is None:
            if self._kill_requested or time.monotonic() - begun > child.spec.stop_timeout:
                break
            time.sleep(ROUND_SECONDS / 2)
        child.end()
        waited = time.monotonic() - begun
        how = f"killed after {waited:.1f} s" if status is None else describe_exit(status)
        self._tell(child, "stopped", how, seconds=waited)

    def _tell(
        self, child: Child, kind: EventKind, detail: str = "", *, seconds: float = 0.0
    ) -> None:
        self._announce(Event(name=child.spec.name, kind=kind, detail=detail, seconds=seconds))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def handle(signum: int, _frame: FrameType | None) -> None:
            if self._stop_requested and signum == signal.SIGINT:
                self._kill_requested = True
            self._stop_requested = True

        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
