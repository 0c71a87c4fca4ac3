"""The stack that is hurt: its processes, and the wounds that they can be given."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator

import psutil

from tests.chaos.aof import AofHistory
from tests.integration.stack.running import RunningStack, pool_children, wait_for

#: Seconds within which a killed process is dead.
_DEAD_SECONDS = 10.0


class Patient:
    """A running stack under attack. All calls come from one thread."""

    def __init__(self, stack: RunningStack, history: AofHistory) -> None:
        self.stack = stack
        self.kills: Counter[str] = Counter()  #: by what was killed
        self.bytes_cut = 0
        self._history = history
        self._held = False

    def kill_worker(self, choose: random.Random, *, parent: bool) -> str | None:
        """``kill -9`` of a model worker: of its Celery parent, or of the process that computes.

        While the supervisor is held always of the latter: nobody would replace the former. None when there is no
        victim, for they all are on their way back.
        """
        self.stack.note_processes()
        found = self.stack.processes("worker")
        parent = parent and not self._held
        if not parent:
            found = [child for worker in found for child in pool_children(worker)]
        if not found:
            return None
        name = f"worker ({'Celery parent' if parent else 'pool child'})"
        self._kill(choose.choice(found), name)
        return name

    def kill_valkey(self) -> None:
        """``kill -9``; the supervisor starts it again at once."""
        self._kill(self._part("valkey"), "valkey")

    def cut_valkey(self) -> int:
        """``kill -9``, and what the last second wrote to its append-only file is gone when it starts again."""
        with self.stack.held():
            valkey = self._part("valkey")
            died_at = time.monotonic()
            self._kill(valkey, "valkey, its last second cut off")
            wait_for(lambda: not _alive(valkey), _DEAD_SECONDS)
            lost = self._history.cut(died_at)
        self.bytes_cut += lost
        return lost

    @contextlib.contextmanager
    def store_frozen(self) -> Iterator[None]:
        """The store keeps its connections and answers nothing."""
        store = self._part("seaweedfs")
        self.kills["seaweedfs, stopped for a while"] += 1
        store.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            store.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def store_down(self) -> Iterator[None]:
        """The store is killed and nobody starts it again."""
        with self.stack.held():
            self._held = True
            try:
                self._kill(self._part("seaweedfs"), "seaweedfs, kept down for a while")
                yield
            finally:
                self._held = False

    def _part(self, name: str) -> psutil.Process:
        """A part, which may be on its way back from an earlier wound."""
        wait_for(lambda: self.stack.process(name) is not None, _DEAD_SECONDS)
        found = self.stack.process(name)
        assert found is not None
        return found

    def _kill(self, victim: psutil.Process, name: str) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        self.kills[name] += 1


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
