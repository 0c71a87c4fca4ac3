"""One training undisturbed, and the same one killed at every moment of a list: the models must be the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

from jobs.names import JobNames
from jobs.settings import Settings
from storage.objects import ObjectStore
from storage.registry import TOLD, ModelVersion, Registry
from tests.chaos.training.lesson import write_model, write_rows
from tests.chaos.training.moments import Moment, Victim
from tests.integration.stack.running import TEST_SETTINGS, RunningStack, pool_children, wait_for
from textmill import Job, Textmill
from workers.checkpoints import COMPLETE, CheckpointFolder

TENANT = "default"

#: Threads that the training begins with, and those that a host which was started again offers, in turn.
_THREADS = ("1", "2")

#: Checkpoints that the training writes for each kill, if nothing is computed twice: one is waited for, one or so passes
#: before the kill, and starting anew costs none.
_CHECKPOINTS_PER_KILL = 3

#: Seconds for a killed process to be dead, for the next checkpoint, for a training to be taken up again.
_DEAD_SECONDS, _CHECKPOINT_SECONDS, _RESUME_SECONDS = 10.0, 180.0, 120.0

#: Seconds between two looks at the store in search of an upload.
_LOOK_SECONDS = 0.005

#: Epochs of training for each kill: some seconds on one thread.
EPOCHS_PER_KILL = 4

Say = Callable[[str], None]


class OrdealFailed(AssertionError):
    """A training did not go on as it must."""


@dataclass(frozen=True)
class Survived:
    """One kill and what followed."""

    moment: Moment
    newest: int  #: step of the newest whole checkpoint after the kill, or before it where the store died too
    cut: int | None  #: step of a checkpoint that was cut in the middle of its upload
    resumed: int  #: step from which training went on
    seconds: float  #: from the kill until then

    def __str__(self) -> str:
        cut = f"; step {self.cut} cut in its upload" if self.cut else ""
        return (
            f"{self.moment}: newest whole step {self.newest}{cut}; went on from step {self.resumed} after "
            f"{self.seconds:.1f} s"
        )


@dataclass
class OrdealReport:
    """What was done, and what it showed."""

    seed: int
    kills: int  #: that were to be done
    steps: int
    calm_seconds: float  #: of steps alone, undisturbed
    interval: float  #: seconds between checkpoints in the disturbed training
    version: str  #: of both models
    files: dict[str, int]  #: of both, the same byte for byte, with their sizes
    survived: list[Survived] = field(default_factory=list)

    @property
    def missed(self) -> int:
        """Kills for which the training was over too soon: none, for without one of them the run fails."""
        return self.kills - len(self.survived)

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield f"training killed {len(self.survived)} times, seed {self.seed}"
        yield f"  steps     {self.steps}, in {self.calm_seconds:.1f} s undisturbed"
        yield f"  saved     every {self.interval:.2f} s"
        for number, one in enumerate(self.survived, start=1):
            yield f"  {number:7}   {one}"
        cut = sum(one.cut is not None for one in self.survived)
        yield f"  cut       {cut} checkpoints in the middle of their upload, none of them used"
        yield f"  the same  {len(self.files)} files, {sum(self.files.values()):,} bytes: version {self.version}"


class Ordeal:
    """Everything, in a folder of its own.

    Args:
        folder: for the stack and the rest.
        moments: the kills.
        seed: that they were drawn from.
        epochs: how long the training is.
        processes: that train together, on as many devices of one worker.
        say: called with a line for people.
    """

    def __init__(
        self,
        folder: Path,
        moments: list[Moment],
        seed: int,
        *,
        epochs: int,
        say: Say,
        processes: int = 1,
    ) -> None:
        self._folder = folder
        self._moments = moments
        self._seed = seed
        self._epochs = epochs
        self._say = say
        self._hosts = 0
        self._interval = 0.0
        data_dir = folder / "stack"
        data_dir.mkdir()
        settings = {
            **TEST_SETTINGS,
            "TEXTMILL_ALLOW_FILE_MODELS": "true",
            "TEXTMILL_LOG_JSON": "true",
            "TEXTMILL_TORCH_THREADS": _THREADS[0],
        }
        devices = "+".join(["cpu"] * processes)
        self._processes = processes
        self._stack = RunningStack(data_dir, workers=1, devices=devices, settings=settings)
        self._model = write_model(folder / "model")
        self._rows = write_rows(folder / "rows.jsonl", 600)

    def run(self) -> OrdealReport:
        """All of it, from the start of the stack to its end.

        Raises:
            OrdealFailed: training went on from something else than the newest whole checkpoint, or the models differ.
            AssertionError: something did not happen in time.
        """
        try:
            self._stack.start()
            calm = self._train_calmly()
            seconds = float(calm.facts["measured"]["seconds"])
            interval = self._interval = seconds / (_CHECKPOINTS_PER_KILL * len(self._moments))
            self._say(
                f"undisturbed: {seconds:.1f} s; a checkpoint each {interval:.2f} s from now on"
            )
            with self._client() as tm:
                job = self._submit(tm, "hurt", checkpoint_seconds=round(interval, 3))
            survived = [self._survive(job.id, number) for number in range(len(self._moments))]
            with self._client() as tm:
                tm.jobs.get(job.id).wait(timeout=300)
            hurt = self._made("hurt")
            files = self._compare(calm, hurt)
            self._stack.stop()
        finally:
            self._stack.end()
        steps = int(calm.facts["measured"]["steps"])
        kills = len(self._moments)
        version = hurt.version
        return OrdealReport(self._seed, kills, steps, seconds, interval, version, files, survived)

    # --- jobs ----------------------------------------------------------------------------------------

    def _client(self) -> Textmill:
        return Textmill(self._stack.client.url, self._stack.client.api_key)

    def _submit(self, tm: Textmill, name: str, **params: Any) -> Job:
        chosen = {
            "task": "classify",
            "output_name": name,
            "epochs": self._epochs,
            "batch_size": 16,
            "learning_rate": 5e-4,
            "dropout": 0.1,
            "seed": 5,
            **params,
        }
        return tm.jobs.create(
            kind="fine_tune", model=f"file:{self._model}", input=self._rows, params=chosen
        )

    def _train_calmly(self) -> ModelVersion:
        with self._client() as tm:
            self._submit(tm, "calm").wait(timeout=300)
        return self._made("calm")

    # --- one kill ------------------------------------------------------------------------------------

    def _survive(self, job_id: str, number: int) -> Survived:
        moment = self._moments[number]
        before = self._resumed(job_id)
        if not before:
            wait_for(lambda: self._resumed(job_id), _RESUME_SECONDS)
            before = self._resumed(job_id)
        whole = self._await_newer(job_id, self._newest(job_id) if number else 0)
        uploading = self._await_moment(job_id, moment)
        killed = time.monotonic()
        self._kill(moment.victim)
        if moment.victim is Victim.HOST:
            self._start_again()
            newest = whole
        else:
            newest = self._newest(job_id)
        wait_for(lambda: len(self._resumed(job_id)) > len(before), _RESUME_SECONDS)
        resumed = self._resumed(job_id)[len(before)]
        cut = uploading if uploading is not None and resumed < uploading else None
        found = Survived(moment, newest, cut, resumed, time.monotonic() - killed)
        self._say(f"{number + 1}: {found}")
        # Only where nobody is left who could finish an upload is it known to the step.
        known = moment.victim in {Victim.CHILD, Victim.WORKER}
        if resumed < newest or (known and resumed != newest):
            raise OrdealFailed(f"training did not go on from its newest whole checkpoint: {found}")
        return found

    def _await_newer(self, job_id: str, step: int) -> int:
        """Wait for a checkpoint that is newer; its step."""
        wait_for(lambda: self._newest(job_id) > step, _CHECKPOINT_SECONDS)
        return self._newest(job_id)

    def _await_moment(self, job_id: str, moment: Moment) -> int | None:
        """Wait for the moment of a kill; the step of the checkpoint that is just being uploaded, if that is it."""
        if not moment.uploading:
            time.sleep(moment.share * self._interval)
            return None
        give_up = time.monotonic() + _CHECKPOINT_SECONDS
        newest = self._newest(job_id)
        while time.monotonic() < give_up:
            steps = [step for step, whole in self._folders(job_id).items() if not whole]
            if steps and max(steps) > newest:
                return max(steps)
            time.sleep(_LOOK_SECONDS)
        raise OrdealFailed("no upload was met")

    def _kill(self, victim: Victim) -> None:
        stack = self._stack
        stack.note_processes()
        if victim is Victim.HOST:
            stack.kill_all()
            return
        worker = stack.process("worker")
        if worker is None:
            raise OrdealFailed("no worker is there to be killed")
        children, trainers = pool_children(worker), stack.trainers()
        if len(trainers) != self._processes:
            raise OrdealFailed(f"{len(trainers)} processes train instead of {self._processes}")
        doomed = {
            Victim.TRAINER: trainers,
            Victim.RANK: trainers[::-1],
            Victim.CHILD: [*children, *trainers],
            Victim.WORKER: [worker, *children, *trainers],
        }[victim]
        doomed[0].kill()  # the others must follow by themselves
        wait_for(lambda: not any(map(_runs, doomed)), _DEAD_SECONDS)

    def _start_again(self) -> None:
        """Start the host anew, with another number of threads."""
        self._hosts += 1
        self._stack.env["TEXTMILL_TORCH_THREADS"] = _THREADS[self._hosts % len(_THREADS)]
        self._stack.start()

    # --- what there is to see ------------------------------------------------------------------------

    @contextmanager
    def _store(self) -> Iterator[ObjectStore]:
        yield ObjectStore.connect(Settings.from_environment(self._stack.embedded.environment()))

    def _newest(self, job_id: str) -> int:
        """Step of the newest whole checkpoint, 0 where there is none."""
        with self._store() as store:
            whole = CheckpointFolder(store, JobNames(TENANT, job_id)).whole()
        return whole[0].step if whole else 0

    def _folders(self, job_id: str) -> dict[int, bool]:
        """Steps of all checkpoints of which anything is there, and whether each is marked as whole."""
        found: dict[int, bool] = {}
        with self._store() as store:
            root = JobNames(TENANT, job_id).checkpoints
            for one in store.list(root):
                folder, _, name = one.name.removeprefix(root).partition("/")
                step = int(folder.partition(".")[0])
                found[step] = found.get(step, False) or name == COMPLETE
        return found

    def _resumed(self, job_id: str) -> list[int]:
        """From which step each process of this training began."""
        found = []
        for line in (self._stack.data_dir / "logs" / "worker-0.log").read_bytes().splitlines():
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # a library's own words
            told = isinstance(entry, dict) and entry.get("event") == "training"
            if told and entry["job"] == job_id:
                found.append(int(entry["from_step"]))
        return found

    def _made(self, name: str) -> ModelVersion:
        with self._store() as store:
            (version,) = Registry(store).versions(TENANT, name)
        return version

    def _compare(self, one: ModelVersion, other: ModelVersion) -> dict[str, int]:
        """Check that two models are the same byte for byte, but for what is told of them.

        Raises:
            OrdealFailed: they are not.
        """
        files = sorted(set(one.files) - TOLD)
        if files != sorted(set(other.files) - TOLD):
            raise OrdealFailed(f"one model has {files}, the other {sorted(other.files)}")
        if not any(name.endswith(".safetensors") for name in files):
            raise OrdealFailed(f"no weights among {files}")
        with self._store() as store:
            registry = Registry(store)
            for name in files:
                first, second = (registry.read(TENANT, version, name) for version in (one, other))
                if first != second:
                    raise OrdealFailed(f"{name} differs from that of the undisturbed training")
        if one.version != other.version:
            raise OrdealFailed(f"the same files are versions {one.version} and {other.version}")
        return {name: one.files[name] for name in files}


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
