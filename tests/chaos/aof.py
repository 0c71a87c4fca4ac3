"""Valkey's append-only file: how it grew, so that what the last second wrote can be cut off."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

#: Seconds between two looks.
LOOK_SECONDS = 0.05
#: Looks kept: far more than a second of them.
_KEPT = 400

_NAME = re.compile(r".*\.(\d+)\.incr\.aof")


@dataclass(frozen=True)
class Look:
    """The file that was appended to at one moment; None where there was none yet."""

    at: float  #: monotonic clock
    file: Path | None
    size: int


def look(folder: Path) -> Look:
    """The newest incremental file of ``folder`` (Valkey begins another with each rewrite) and its size."""
    found = {}
    for entry in os.scandir(folder):
        if match := _NAME.fullmatch(entry.name):
            found[int(match[1])] = Path(entry.path)
    if not found:
        return Look(time.monotonic(), None, 0)
    newest = found[max(found)]
    return Look(time.monotonic(), newest, newest.stat().st_size)


class AofHistory:
    """Watches the append-only file of one Valkey in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looks: deque[Look] = deque(maxlen=_KEPT)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="aof", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def since(self) -> float:
        """Seconds for which the file has been watched."""
        looks = list(self._looks)
        return time.monotonic() - looks[0].at if looks else 0.0

    def cut(self, died_at: float, seconds: float = 1.0) -> int:
        """Cut off what was written in the last seconds before ``died_at``; the bytes lost. Valkey must be down.

        Raises:
            ValueError: the file has not been watched for so long, or there is none.
        """
        last = look(self._folder)
        if last.file is None:
            raise ValueError(f"no append-only file in {self._folder}")
        if not self._looks or self._looks[0].at > died_at - seconds:
            raise ValueError(f"the append-only file was not watched for the last {seconds:g} s")
        # The last look that is old enough. A file that is newer than that is lost whole.
        before = [
            one.size
            for one in list(self._looks)
            if one.file == last.file and one.at <= died_at - seconds
        ]
        keep = before[-1] if before else 0
        os.truncate(last.file, keep)
        return last.size - keep

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                self._looks.append(look(self._folder))
            except FileNotFoundError:
                continue  # a rewrite has just put another file in its place
