"""Reads of many callers at once, made in one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from jobs.errors import Unavailable

Key = TypeVar("Key")
Value = TypeVar("Value")


class GroupedReads(Generic[Key, Value]):
    """Answers calls that come while a read is under way by one read after it: a thousand callers who want the same are
    a handful of reads, and each gets what was true after it asked.

    Args:
        read: reads these keys; those that are not there may be missing.
        gather: whether the first of a group gives way once, to those who are about to ask as well. For reads that cost
            a process more than the answer makes its callers wait.
    """

    def __init__(
        self, read: Callable[[Sequence[Key]], Mapping[Key, Value]], *, gather: bool = False
    ) -> None:
        self._read = read
        self._gather = gather
        self._gate = threading.Lock()
        self._reading = threading.Lock()
        self._forming: _Group[Key, Value] = _Group()

    def get(self, key: Key) -> Value | None:
        """What is there now, or None.

        Raises:
            Exception: whatever ``read`` raised.
            Unavailable: the caller who read for all was stopped.
        """
        with self._gate:
            group = self._forming
            group.keys[key] = None
        with self._reading:
            if not group.read:
                if self._gather:
                    time.sleep(0)
                # Whoever comes from here on must not be given what is read for these.
                with self._gate:
                    self._forming = _Group()
                group.run(self._read)
        if group.failure is not None:
            raise group.failure
        return group.values.get(key)


class _Group(Generic[Key, Value]):
    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self.values: Mapping[Key, Value] = {}
        self.failure: Exception | None = None
        self.read = False

    def run(self, read: Callable[[Sequence[Key]], Mapping[Key, Value]]) -> None:
        self.read = True
        try:
            self.values = read(list(self.keys))
        except Exception as failure:  # noqa: BLE001  # raised again by each who waits for it
            self.failure = failure
        except BaseException:
            # It is this caller alone that is stopped; the others know nothing, and may ask again.
            self.failure = Unavailable("the read was stopped")
            raise
