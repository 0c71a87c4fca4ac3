"""Whether the processes of a Celery worker go forward, seen from its parent.

A thread of each pool child counts up in a file. It stands still when the child hangs in code that holds Python's
global lock, which no thread of the child could notice; the parent then kills it, and Celery puts another in its place.
The parent also notices when it no longer gets messages although they wait: workers that stopped consuming after a
broken connection were seen in the field, and such a one answers pings all the same.
"""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis
import structlog

log = structlog.get_logger(__name__)

#: Seconds between two beats, and between two looks at them.
BEAT_SECONDS = 1.0

_BEAT = struct.Struct("<Q?")  # number of the beat, whether a task runs


class Pulse:
    """Beats, in a pool child."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / str(os.getpid())).open("wb", buffering=0)
        self._number = 0
        self._busy = False
        self._thread = threading.Thread(target=self._go_on, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def busy(self, busy: bool) -> None:
        """Say at once whether a task runs: it may be the last that is heard."""
        self._busy = busy
        self._beat()

    def _beat(self) -> None:
        self._number += 1
        os.pwrite(self._file.fileno(), _BEAT.pack(self._number, self._busy), 0)

    def _go_on(self) -> None:
        while True:
            self._beat()
            threading.Event().wait(BEAT_SECONDS)


@dataclass
class _Seen:
    """What was last seen of a child."""

    number: int
    still: int = 0  #: looks in a row that saw the same beat


class Watchdog:
    """Looks after the children, in their parent.

    Time is counted in looks, not by a clock: while the parent itself stands still, nobody is blamed.

    Args:
        folder: where the children beat.
        children: process ids of the pool.
        waiting: how many messages wait in the queues that this worker listens to.
        hang_seconds: silence after which a child hangs; also the time for which messages may wait beside idle children.
        give_up: ends this worker, to be started anew.
    """

    def __init__(
        self,
        folder: Path,
        children: Callable[[], Iterable[int]],
        waiting: Callable[[], int],
        hang_seconds: float,
        give_up: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._children = children
        self._waiting = waiting
        self._patience = max(1, round(hang_seconds / BEAT_SECONDS))
        self._give_up = give_up
        self._seen: dict[int, _Seen] = {}
        self._deaf = 0  # looks in a row that saw messages wait and nobody take them
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def look(self) -> None:
        """Look once at every child and at the queues."""
        pids = set(self._children())
        self._seen = {pid: seen for pid, seen in self._seen.items() if pid in pids}
        beats = {pid: beat for pid in pids if (beat := self._read(pid)) is not None}
        for pid, (number, _) in beats.items():
            seen = self._seen.setdefault(pid, _Seen(number))
            seen.still = seen.still + 1 if seen.number == number else 0
            seen.number = number
            if seen.still >= self._patience:
                log.error("child hangs", pid=pid, seconds=self._patience * BEAT_SECONDS)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                seen.still = 0
        idle = bool(beats) and not any(busy for _, busy in beats.values())
        self._deaf = self._deaf + 1 if idle and self._waiting() else 0
        if self._deaf >= self._patience:
            log.error("messages wait and are not taken; starting anew")
            self._give_up()

    def _read(self, pid: int) -> tuple[int, bool] | None:
        try:
            return cast("tuple[int, bool]", _BEAT.unpack((self._folder / str(pid)).read_bytes()))
        except (OSError, struct.error):
            return None  # it has only just begun

    def _watch(self) -> None:
        while True:
            threading.Event().wait(BEAT_SECONDS)
            self.look()


def messages_waiting(client: redis.Redis, queues: Iterable[str]) -> int:
    """How many messages wait in these queues of a broker; 0 while it cannot be asked, or cannot hand them out."""
    try:
        waiting = sum(int(client.llen(queue)) for queue in queues)
        if waiting:
            # To hand one out is a write: nobody who gets none from a full Redis is deaf.
            client.set("pulse:probe", "", px=1)
    except redis.RedisError:
        return 0
    return waiting
