"""What a kind is that makes a model: all rows of a job in, one version of a registered model out.

To the ledger such a job has one row, number 0: the training as a whole. Its input is kept as data beside it
(``data/`` of the job), and :meth:`TrainingKind.train` runs in a process of its own, which may be killed at any moment
and is started again with the newest checkpoint that is whole.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import Kind, RunContext
from jobs.rows import Outcome, Row, Success

#: The name of the job's own input in :attr:`TrainingRun.data`.
INPUT = "input"


class Stopped(Exception):
    """Training ended early because it was asked to; a checkpoint says how far it came."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of one training, one for each device, as one of them counts them."""

    rank: int = 0  #: this one's number; 0 tells, measures and saves for all
    count: int = 1
    meeting: Path | None = None  #: a folder by which several find one another

    @property
    def leads(self) -> bool:
        """Whether this is the one that counts."""
        return self.rank == 0


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What surrounds one call of :meth:`TrainingKind.train`."""

    #: Folder of the model to start from; None for one from scratch.
    base: Path | None
    #: What that model is, with its revision pinned, such as ``pkg:name`` or ``scratch:marian``.
    reference: str
    #: Rows by where they came from, :data:`INPUT` and the names of :meth:`TrainingKind.files`: in order, good
    #: and bad ones, a line each as :func:`jobs.rows.decode_shard_row` reads them.
    data: Mapping[str, Path]
    params: Any
    device: Device
    source: str  #: of the product, for the registry: ``job:<id>``
    product: Path  #: an empty folder for the model
    scratch: Path  #: a folder for checkpoints and whatever else is not kept
    resume: Path | None  #: a checkpoint of an earlier run of the same job, to go on from
    #: Tells what happens, as JSON values under ``event``:
    #:
    #: - ``phase``: ``name``, one of ``data``, ``training``, ``evaluation``, ``saving``; and ``processes``, where
    #:   several train;
    #: - ``step``: ``step``, ``steps``, ``epoch`` (as often as the rows were gone through, 0.5 half), ``loss``,
    #:   ``learning_rate``, ``tokens_per_second``, ``eta_seconds``;
    #: - ``evaluation``: ``step`` and ``metrics``, numbers by name;
    #: - ``checkpoint``: ``step`` and ``folder``, whole by now, which is the caller's from here on (to upload, then
    #:   to remove);
    #: - ``warning``: ``message``, for the user.
    report: Callable[[Mapping[str, Any]], None]
    #: Whether to write a checkpoint now and raise :class:`Stopped`. Asked between steps.
    stopping: Callable[[], bool]
    ranks: Ranks = Ranks()


class TrainingKind(Kind):
    """A kind whose jobs each make one model."""

    loads_weights: ClassVar[bool] = False
    carries: ClassVar[bool] = False
    #: Whether :meth:`train` may be called in a process for each device of a group, all at the same time. Each has a
    #: ``device``, ``scratch`` and ``ranks`` of its own; only what rank 0 tells, makes and returns counts.
    divides: ClassVar[bool] = False
    window_rows: ClassVar[int] = 1

    def files(self, params: Any) -> Mapping[str, str]:
        """Uploaded files that it reads beside the input, by the names that they get in :attr:`TrainingRun.data`."""
        return {}

    @abstractmethod
    def train(self, run: TrainingRun) -> Success:
        """Make the model, in a process that is there for nothing else.

        Returns:
            the job's only result, with the product: ``{"metrics": …}`` (model and version join it).

        Raises:
            Stopped: ``run.stopping`` said so.
            JobFailure: the data or the model are at fault.
        """

    def run(
        self, model: Any, state: Any, rows: Sequence[Row], params: Any, context: RunContext
    ) -> list[Outcome]:
        raise JobFailure("kind_broken", f"kind {self.name} trains: it is not run row by row")
