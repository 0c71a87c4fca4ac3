"""Checkpoints of a training in the store: ``checkpoints/<step>.<token>/``, whole once ``_COMPLETE`` lies there.

``_COMPLETE`` is written last and says what belongs to the checkpoint, so one that was cut in the middle of its upload
is never taken for whole, nor one of which something was lost or changed since.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import orjson
import structlog

from jobs.errors import Unavailable
from jobs.names import JobNames
from storage.objects import ObjectMissing, ObjectStore
from storage.watched import Watched

log = structlog.get_logger(__name__)

#: Object that makes a checkpoint whole.
COMPLETE = "_COMPLETE"

#: Whole checkpoints that are kept: one more than is needed, should the newest be found damaged.
KEPT = 2

#: Seconds between two tries to upload while the store is away: the first, which then doubles, and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


class CheckpointUnusable(Exception):
    """What lies in the store is not what its ``_COMPLETE`` says."""


class _Dropped(Exception):
    """An upload is not wanted any more."""


@dataclass(frozen=True, kw_only=True, order=True)
class Checkpoint:
    """A whole checkpoint."""

    step: int
    prefix: str  #: of its objects' names


class CheckpointFolder:
    """The checkpoints of one job."""

    def __init__(self, store: ObjectStore, names: JobNames) -> None:
        self._store = store
        self._names = names

    def whole(self) -> list[Checkpoint]:
        """Those that are whole, as far as names and sizes tell; newest first."""
        found = [
            Checkpoint(step=step, prefix=prefix)
            for prefix, step, sizes in self._listed()
            if COMPLETE in sizes and self._has_sizes(prefix, sizes)
        ]
        return sorted(found, reverse=True)

    def fetch(self, checkpoint: Checkpoint, target: Path, check: Callable[[], None]) -> None:
        """Bring a checkpoint to a folder, in bounded memory.

        Args:
            check: called between pieces; raises to give up.

        Raises:
            CheckpointUnusable: it is not whole any more, or damaged.
            OSError: the disk takes no more.
        """
        try:
            for name, expected in self._contents(checkpoint.prefix).items():
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with path.open("wb") as file:
                    for chunk in self._store.stream(checkpoint.prefix + name):
                        check()
                        digest.update(chunk)
                        file.write(chunk)
                if digest.hexdigest() != expected["sha256"]:
                    raise CheckpointUnusable(f"{checkpoint.prefix}{name} is not what was written")
        except ObjectMissing as error:
            raise CheckpointUnusable(f"{checkpoint.prefix} is not there any more") from error

    def put(self, folder: Path, step: int, token: str, check: Callable[[], None]) -> Checkpoint:
        """Upload a folder: its files, and ``_COMPLETE`` last.

        Args:
            check: called between pieces; raises to give up.

        Raises:
            Unavailable: the store is away; what lies there is no checkpoint.
        """
        prefix = self._names.checkpoint(step, token)
        files: dict[str, dict[str, Any]] = {}
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            name = path.relative_to(folder).as_posix()
            with path.open("rb") as file:
                watched = Watched(file, check)
                self._store.put_stream(prefix + name, cast(BinaryIO, watched))
            files[name] = {"bytes": watched.bytes, "sha256": watched.digest.hexdigest()}
        record = {"format": 1, "step": step, "files": files}
        self._store.put_json(prefix + COMPLETE, record)
        return Checkpoint(step=step, prefix=prefix)

    def discard(self, checkpoint: Checkpoint) -> None:
        """Remove a checkpoint; it stops being whole first."""
        self._store.delete(checkpoint.prefix + COMPLETE)
        for found in self._store.list(checkpoint.prefix):
            self._store.delete(found.name)

    def clear(self) -> None:
        """Remove everything."""
        for found in self._store.list(self._names.checkpoints):
            self._store.delete(found.name)

    def sweep(self) -> None:
        """Remove all but the newest whole ones, and what was left half uploaded before them."""
        kept = self.whole()[:KEPT]
        if not kept:
            return
        spared = {checkpoint.prefix for checkpoint in kept}
        for prefix, step, _ in list(self._listed()):
            if prefix not in spared and step <= kept[0].step:
                self.discard(Checkpoint(step=step, prefix=prefix))

    def _listed(self) -> Iterator[tuple[str, int, dict[str, int]]]:
        """Each folder's prefix, its step, and the sizes of its objects in bytes."""
        root = self._names.checkpoints

        def folder(name: str) -> str:
            return name.removeprefix(root).partition("/")[0]

        for name, found in groupby(self._store.list(root), lambda one: folder(one.name)):
            step, _, token = name.partition(".")
            prefix = f"{root}{name}/"
            sizes = {one.name.removeprefix(prefix): one.size for one in found}
            if step.isdigit() and token:
                yield prefix, int(step), sizes

    def _has_sizes(self, prefix: str, sizes: Mapping[str, int]) -> bool:
        try:
            contents = self._contents(prefix)
        except CheckpointUnusable as error:
            log.warning("checkpoint not taken", reason=str(error))
            return False
        if all(sizes.get(name) == one["bytes"] for name, one in contents.items()):
            return True
        log.warning("checkpoint not taken", prefix=prefix, reason="its objects have other sizes")
        return False

    def _contents(self, prefix: str) -> dict[str, dict[str, Any]]:
        try:
            files = dict(orjson.loads(self._store.get(prefix + COMPLETE))["files"])
        except (ValueError, LookupError, TypeError) as error:
            raise CheckpointUnusable(f"{prefix}{COMPLETE} cannot be read") from error
        if any(name.startswith("/") or ".." in name.split("/") for name in files):
            raise CheckpointUnusable(f"{prefix}{COMPLETE} names files outside of it")
        return files


@dataclass(frozen=True)
class _Waiting:
    """A folder that is to be uploaded."""

    step: int
    folder: Path


class CheckpointUploader:
    """Uploads checkpoints beside the training. A store that is away delays them; a newer one replaces those that wait.

    Args:
        folder: where they go.
        token: of the lease, in their names.
        done: called in the uploader's thread with each checkpoint that is whole now.
        allowed: whether this worker may still hold the lease; while not, nothing goes out.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        token: str,
        done: Callable[[Checkpoint], None],
        allowed: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._token = token
        self._done = done
        self._allowed = allowed
        self._changed = threading.Condition()
        self._waiting: _Waiting | None = None
        self._busy = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # What hangs in a store that is silent ends by its own timeout; nobody waits for it.
        self._thread.join(timeout=1.0)

    def add(self, step: int, folder: Path) -> None:
        """Upload this folder next, and remove it then."""
        with self._changed:
            replaced, self._waiting = self._waiting, _Waiting(step, folder)
            self._changed.notify_all()
        if replaced is not None:
            log.info("checkpoint replaced before its upload", step=replaced.step, by=step)
            shutil.rmtree(replaced.folder, ignore_errors=True)

    def idle(self, seconds: float = 0.0) -> bool:
        """Whether everything is uploaded, after waiting for that for at most so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and self._waiting is None, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                task, self._waiting = self._waiting, None
                if self._closed or task is None:
                    return
                self._busy = True
            try:
                self._upload(task)
            except Exception:
                # Training goes on without it, and the next one is tried all the same.
                log.exception("checkpoint not uploaded", step=task.step)
            finally:
                shutil.rmtree(task.folder, ignore_errors=True)
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _upload(self, task: _Waiting) -> None:
        pause = _FIRST_PAUSE
        while True:
            if not self._allowed():
                log.warning("checkpoint waits", step=task.step, reason="the ledger is away")
            elif self._uploaded(task):
                return
            with self._changed:
                if self._changed.wait_for(lambda: self._closed or self._waiting is not None, pause):
                    return  # the newest wins
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _uploaded(self, task: _Waiting) -> bool:
        """Upload once; whether it need not be tried again."""
        try:
            checkpoint = self._folder.put(task.folder, task.step, self._token, self._check)
            self._done(checkpoint)
            if self._allowed():
                self._folder.sweep()
        except _Dropped:
            pass
        except Unavailable as error:
            log.warning("checkpoint waits", step=task.step, reason=error.detail)
            return False
        return True

    def _check(self) -> None:
        if self._closed:
            raise _Dropped
