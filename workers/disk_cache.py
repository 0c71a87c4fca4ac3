"""Model files on this host's disk: who uses which of them, and which go when there is too little room."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import structlog

from jobs.errors import Unavailable

log = structlog.get_logger(__name__)

Written = TypeVar("Written")

#: Folders of the cache whose folders are entries: each one model, by its content or, of a hub, by its name.
_SHELVES = ("conversions", "hub", "imported", "registry", "s3")
_LOCKS = ".locks"
#: How folders are called that are being removed.
_REMOVING = ".removing-"
#: Seconds after which nobody fills or removes a folder any more: whoever did was killed.
_ABANDONED_SECONDS = 86_400.0


class Hold:
    """An entry that this process uses. Other processes leave it there until this object is gone."""

    def __init__(self, lock: int) -> None:
        self._close = weakref.finalize(self, os.close, lock)


@dataclass(frozen=True)
class _Entry:
    path: Path
    used: float  #: when it was last held, by the system's clock
    bytes: int


class DiskCache:
    """A folder of models that the processes of a host share, kept within so many bytes where there is a limit.

    Of the entries that no process holds, those held longest ago go first. An entry that is in use stays, even where the
    limit is exceeded.

    Args:
        root: the folder.
        limit: in bytes; None: as many as the disk takes.
    """

    def __init__(self, root: Path, limit: int | None) -> None:
        self.root = root
        self._limit = limit
        self._holds: weakref.WeakValueDictionary[Path, Hold] = weakref.WeakValueDictionary()
        self._recent: dict[Path, Hold] = {}

    def held(self, find: Callable[[], Path]) -> Path:
        """The folder that ``find`` gives, fetched where it must be; if it lies in the cache, it stays there while held.

        Raises:
            Unavailable: the disk is full, and everything on it is in use.
        """
        while True:
            path = self.with_room(find)
            entry = self._entry_of(path)
            if entry is None:
                return path
            self.hold(entry)
            if path.exists():  # else another process removed it before it was held
                self._trim()
                return path

    def with_room(self, write: Callable[[], Written]) -> Written:
        """Do something that writes model files. Where the disk is full it is done again once an entry has made room.

        Raises:
            Unavailable: the disk is full, and everything on it is in use.
        """
        while True:
            try:
                return write()
            except OSError as error:
                if not is_full(error):
                    raise
                if not self._remove_oldest():
                    reason = f"the disk of a worker has no room for the model's files ({self.root})"
                    raise Unavailable(reason) from error

    def hold(self, entry: Path) -> None:
        """Hold an entry, whether it is there yet or not."""
        hold = self._holds.get(entry)
        lock = self._lock_file(entry)
        if hold is None:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            except BaseException:
                os.close(descriptor)
                raise
            hold = self._holds[entry] = Hold(descriptor)
        os.utime(lock)
        self._recent[entry] = hold

    def taken(self) -> tuple[Hold, ...]:
        """What was held since the last call. Held for as long as the caller keeps it."""
        recent, self._recent = self._recent, {}
        return tuple(recent.values())

    def clean(self) -> None:
        """Remove what processes left behind that were killed while they fetched or removed something."""
        before = time.time() - _ABANDONED_SECONDS
        # A hub's own library keeps hidden folders on its shelf, and cleans up after itself.
        filled = [(self.root / shelf).glob(".*") for shelf in _SHELVES if shelf != "hub"]
        for path in chain(self.root.glob(f"{_REMOVING}*"), *filled):
            with contextlib.suppress(FileNotFoundError):
                if path.is_dir() and path.stat().st_mtime < before:
                    shutil.rmtree(path, ignore_errors=True)

    def _entry_of(self, path: Path) -> Path | None:
        """The entry that a path lies in; None for one that lies elsewhere."""
        if not path.is_relative_to(self.root):
            return None
        parts = path.relative_to(self.root).parts
        return self.root / parts[0] / parts[1] if len(parts) > 1 and parts[0] in _SHELVES else None

    def _lock_file(self, entry: Path) -> Path:
        folder = self.root / _LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{entry.parent.name}-{entry.name}"

    # --- room ----------------------------------------------------------------------------------------

    def _trim(self) -> None:
        """Remove what exceeds the limit and is in nobody's use."""
        if self._limit is None:
            return
        entries = sorted(self._entries(), key=lambda entry: entry.used)
        total = sum(entry.bytes for entry in entries)
        for entry in entries:
            if total <= self._limit:
                return
            if self._remove(entry):
                total -= entry.bytes

    def _remove_oldest(self) -> bool:
        """Remove the entry that was used longest ago, of those in nobody's use; whether there was one."""
        return any(map(self._remove, sorted(self._entries(), key=lambda entry: entry.used)))

    def _entries(self) -> Iterator[_Entry]:
        for shelf in _SHELVES:
            folder = self.root / shelf
            if not folder.is_dir():
                continue
            for path in folder.iterdir():
                if not path.is_dir() or path.name.startswith("."):
                    continue  # a lock, or something half fetched
                try:
                    # Beside a model's own files; one of before there were locks was used when it was made.
                    lock = self._lock_file(path)
                    used = (lock if lock.exists() else path).stat().st_mtime
                    yield _Entry(path, used, _tree_bytes(path))
                except FileNotFoundError:
                    continue  # another process removed it just now

    def _remove(self, entry: _Entry) -> bool:
        """Remove an entry unless somebody holds it; whether it is gone."""
        descriptor = os.open(self._lock_file(entry.path), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if not entry.path.is_dir():
                return False
            # Out of sight at once: half a model must never be found.
            grave = Path(tempfile.mkdtemp(dir=self.root, prefix=_REMOVING))
            entry.path.rename(grave / entry.path.name)
            shutil.rmtree(grave, ignore_errors=True)
        finally:
            os.close(descriptor)
        log.info("removed from disk", entry=str(entry.path), bytes=entry.bytes)
        return True


def is_full(error: OSError) -> bool:
    """Whether it says that a disk, or the share of it that a user may fill, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _tree_bytes(folder: Path) -> int:
    """Bytes of the files below a folder; links count nothing, and what vanishes meanwhile neither."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            if not path.is_symlink():
                total += path.stat().st_size
    return total
