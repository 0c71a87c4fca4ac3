"""Computing a training: its data and newest checkpoint fetched, its process looked after, its model published."""

from __future__ import annotations

import fcntl
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from jobs.devices import Device
from jobs.errors import JobFailure, Unavailable
from jobs.rows import Row, Success, result_line
from nlp.training.process import TrainingTask, decode_success, disk_full, is_disk_full
from storage.ledger import Claim
from storage.objects import ObjectMissing
from workers.apart import apart
from workers.checkpoints import (
    Checkpoint,
    CheckpointFolder,
    CheckpointUnusable,
    CheckpointUploader,
)
from workers.computing import OpenJob, Work, published
from workers.lease import Lease, LeaseLost, persist
from workers.runtime import Runtime
from workers.training_child import TrainingChild, TrainingDied
from workers.training_data import DataFolder
from workers.training_view import TrainingLog, TrainingView

log = structlog.get_logger(__name__)

#: Deaths of a training without a newer checkpoint between them, after which the job fails.
_MOST_DEATHS = 3

#: Seconds between two looks at the lease while the process says nothing.
_LOOK_SECONDS = 0.2

#: Seconds between two words to the ledger about how far the training is.
_SHOW_SECONDS = 1.0

#: Seconds of the time to drain that are not for a checkpoint and its upload.
_DRAIN_REST = 0.5

#: The same when another job should have a turn: then there is time.
_YIELD_SECONDS = 120.0

#: Seconds for the last words of a training.
_LOG_SECONDS = 2.0

#: Seconds for the upload of what a process left that died.
_DEATH_SECONDS = 60.0


@dataclass(frozen=True)
class TrainingBase:
    """What a training starts from."""

    folder: Path | None  #: None for a model from scratch
    reference: str  #: pinned


class TrainingComputer:
    """Computes the one range of trainings on one device."""

    def __init__(self, runtime: Runtime, device: Device) -> None:
        self._runtime = runtime
        self._device = device
        self._root = runtime.settings.model_cache_dir.absolute() / "training"

    def compute(self, opened: OpenJob, lease: Lease, claim: Claim) -> Work:
        """Train, or go on with it as long as there is time; to be committed as it is.

        Raises:
            LeaseLost: the range may be somebody else's by now.
            JobStopped: the job's outcome is decided.
            JobFailure: data, model or kind are at fault, or the training died again and again.
            TrainingDied: its process died.
            Unavailable: the store or the ledger is away.
        """
        work = Work(lease.rows, 0.0)
        started = time.monotonic()
        try:
            with _scratch(self._root, f"{lease.job_id}.{lease.token}") as scratch:
                run = _Run(self._runtime, self._device, opened, lease, scratch)
                success = run.train()
                if success is not None:
                    work.lines.add_result(result_line(Row(0, ""), success))
                    work.input_tokens += success.usage.input_tokens
                    work.output_tokens += success.usage.output_tokens
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise disk_full(error) from error
        work.seconds = time.monotonic() - started
        return work


class _Run:
    """One lease's part of a training."""

    def __init__(
        self, runtime: Runtime, device: Device, opened: OpenJob, lease: Lease, scratch: Path
    ) -> None:
        self._runtime = runtime
        self._device = device
        self._opened = opened
        self._lease = lease
        self._scratch = scratch
        self._folder = CheckpointFolder(runtime.store, opened.names)
        record = runtime.ledger.jobs.find(lease.job_id)
        self._view = TrainingView(record.training if record else None)
        self._log = TrainingLog(scratch / "training.jsonl")
        self._shown: tuple[float, dict[str, Any]] = (0.0, {})
        self._heard = 0.0

    def train(self) -> Success | None:
        """What came of it; None when there was no time to come to an end."""
        with closing(self._log):
            return self._train(*self._resume())

    def _train(self, resume: Path | None, step: int) -> Success | None:
        data = DataFolder(self._runtime.store, self._opened.names).fetch(
            self._scratch / "data", self._read
        )
        for name in ("product", "work"):
            (self._scratch / name).mkdir()
        kind, base = self._opened.kind, self._opened.state
        task = TrainingTask(
            kind=f"{type(kind).__module__}:{type(kind).__qualname__}",
            params=self._opened.job.spec.params,
            device=self._device,
            base=None if base.folder is None else str(base.folder),
            reference=base.reference,
            data={name: str(path) for name, path in data.items()},
            source=f"job:{self._lease.job_id}",
            product=str(self._scratch / "product"),
            scratch=str(self._scratch / "work"),
            resume=None if resume is None else str(resume),
        )
        try:
            uploader = CheckpointUploader(
                self._folder, self._lease.token, self._uploaded, lambda: not self._lease.overdue
            )
            with uploader, TrainingChild(task) as child:
                log.info("training", job=self._lease.job_id, pid=child.pid, from_step=step)
                success = self._followed(child, uploader)
            return None if success is None else self._finished(success)
        finally:
            self._leave_log()

    # --- before --------------------------------------------------------------------------------------

    def _resume(self) -> tuple[Path | None, int]:
        """The folder of the newest checkpoint that is whole, and its step; None and 0 where there is none.

        Raises:
            JobFailure: the training dies again and again without coming any further (``worker_lost``).
        """
        lease = self._lease
        found = persist(lease, self._folder.whole)
        step = found[0].step if found else 0
        forgive = self._runtime.ledger.training.forgive
        deaths = persist(lease, lambda: forgive(lease.job_id, lease.rows, lease.token, step))
        if deaths is None:
            raise LeaseLost(f"{lease.job_id} {lease.rows}")
        if deaths >= _MOST_DEATHS:
            reason = f"its process ended {deaths} times without a newer checkpoint in between"
            raise JobFailure("worker_lost", reason)
        for checkpoint in found:
            folder = self._scratch / f"resume-{checkpoint.step}"
            try:
                self._fetch(checkpoint, folder)
            except CheckpointUnusable as error:
                log.warning("checkpoint not taken", job=lease.job_id, reason=str(error))
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._go_on_from(checkpoint.step)
            return folder, checkpoint.step
        return None, 0

    def _fetch(self, checkpoint: Checkpoint, folder: Path) -> None:
        def fetch() -> None:
            self._folder.fetch(checkpoint, folder, self._lease.check)

        persist(self._lease, fetch)

    def _go_on_from(self, step: int) -> None:
        """Take up what an earlier run told, up to this step."""
        self._view.resume(step)
        name = self._opened.names.training_log
        with suppress(ObjectMissing):
            self._log.resume(self._read(name), step)

    def _read(self, name: str) -> bytes:
        return persist(self._lease, lambda: self._runtime.store.get(name))

    # --- meanwhile -----------------------------------------------------------------------------------

    def _followed(self, child: TrainingChild, uploader: CheckpointUploader) -> Success | None:
        try:
            return self._follow(child, uploader)
        except TrainingDied:
            # Whoever goes on from a checkpoint that it left loses the less.
            self._settle(uploader, None, time.monotonic() + _DEATH_SECONDS)
            raise

    def _follow(self, child: TrainingChild, uploader: CheckpointUploader) -> Success | None:
        """Look after the process until it ends; None when it was made to before its time."""
        begun = self._heard = time.monotonic()
        asked: float | None = None
        patience = 0.0
        while True:
            self._check(asked)
            now = time.monotonic()
            if asked is None and (patience := self._time_left(now - begun)):
                child.stop()
                asked = now
            if asked is not None and now - asked > patience:
                log.warning("no checkpoint in time", job=self._lease.job_id, seconds=patience)
                return None
            for message in child.messages(_LOOK_SECONDS):
                self._heard = time.monotonic()
                if "result" in message:
                    return decode_success(message["result"])
                if "failure" in message:
                    failure = message["failure"]
                    raise JobFailure(failure["code"], failure["message"], field=failure["field"])
                if "died" in message:
                    raise TrainingDied(message["died"])
                if "stopped" in message:
                    self._settle(uploader, asked, (asked or now) + patience)
                    return None
                self._take(message, uploader)
            stall = self._runtime.settings.stall_seconds
            if time.monotonic() - self._heard > stall:
                raise TrainingDied(f"it was silent for {stall:g} s")
            self._show()

    def _check(self, asked: float | None) -> None:
        try:
            self._lease.check()
        except LeaseLost:
            if self._lease.overdue:
                # The process goes on computing, to nobody's harm: nothing goes out before the ledger has answered, and
                # where the range is another's by then, all of it is dropped.
                return
            # A worker that must stop gives its range back after a while, whatever it is doing. A checkpoint that
            # is on its way is worth something even then.
            if asked is None or not self._lease.draining.is_set():
                raise

    def _time_left(self, seconds: float) -> float:
        """Seconds that a training which has run so long has for a checkpoint when it must stop now; 0: it need not."""
        if self._lease.draining.is_set():
            return self._runtime.settings.drain_seconds - _DRAIN_REST
        # Getting started costs much: once at it, it stays for a while whoever waits.
        if self._lease.must_yield and seconds > self._runtime.settings.slice_seconds:
            return _YIELD_SECONDS
        return 0.0

    def _settle(self, uploader: CheckpointUploader, asked: float | None, deadline: float) -> None:
        """Wait for the last checkpoint to be whole in the store, as long as there is time."""
        while not uploader.idle(_LOOK_SECONDS):
            self._check(asked)
            if time.monotonic() > deadline:
                log.warning("checkpoint not uploaded in time", job=self._lease.job_id)
                return

    def _take(self, event: dict[str, Any], uploader: CheckpointUploader) -> None:
        self._log.take(event)
        self._view.take(event)
        if event.get("event") == "checkpoint":
            uploader.add(int(event["step"]), Path(event["folder"]))

    def _uploaded(self, checkpoint: Checkpoint) -> None:
        """In the uploader's thread: a checkpoint is whole, so earlier deaths count no more."""
        lease = self._lease
        self._view.uploaded(checkpoint.step)
        log.info("checkpoint", job=lease.job_id, step=checkpoint.step)
        # Where this is lost, whoever goes on from the checkpoint says it.
        with suppress(Unavailable):
            self._runtime.ledger.training.forgive(
                lease.job_id, lease.rows, lease.token, checkpoint.step
            )
        with suppress(Unavailable):
            self._put_log()

    def _show(self) -> None:
        """Tell the ledger how far it is, not more often than is worth it."""
        told, shown = self._shown
        block = self._view.block()
        now = time.monotonic()
        if now - told < _SHOW_SECONDS or block == shown:
            return
        lease = self._lease
        self._shown = (now, block)
        with suppress(Unavailable):
            self._runtime.ledger.training.show(lease.job_id, lease.rows, lease.token, block)

    def _put_log(self) -> None:
        name = self._opened.names.training_log
        self._runtime.store.put(name, self._log.read(), "application/x-ndjson")

    def _leave_log(self) -> None:
        """Put the log a last time; a store that is silent delays nobody."""
        if self._lease.overdue:
            return

        def put() -> None:
            with suppress(Unavailable):
                self._runtime.store.put(name, data, "application/x-ndjson")

        name, data = self._opened.names.training_log, self._log.read()
        thread = threading.Thread(target=put, name="training log", daemon=True)
        thread.start()
        thread.join(_LOG_SECONDS)

    # --- after ---------------------------------------------------------------------------------------

    def _finished(self, success: Success) -> Success:
        """The result, its model published. A store that is away is waited for: the training is worth it."""
        self._view.end()
        self._shown = (0.0, {})
        self._show()
        if success.product is None:
            return success
        product = success.product

        def publish(check: Callable[[], None]) -> Success:
            return persist(
                self._lease,
                lambda: published(self._runtime, self._opened, success, product, check),
                patience_leases=float("inf"),
            )

        while self._lease.overdue and not self._lease.draining.wait(_LOOK_SECONDS):
            self._check(None)
        return apart(self._lease, publish)


@contextmanager
def _scratch(root: Path, name: str) -> Iterator[Path]:
    """An empty folder, removed in the end; and what workers that were killed have left is removed first."""
    root.mkdir(parents=True, exist_ok=True)
    for left in root.iterdir():
        with suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = root / name
    folder.mkdir()
    with _locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which ends with the process.

    Raises:
        OSError: somebody holds it.
    """
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
