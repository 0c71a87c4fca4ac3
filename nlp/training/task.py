"""What a model learns: rows become examples, a batch becomes a loss, and what was learnt is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jobs.devices import Device
from jobs.rows import Row
from nlp.training.hyper import Hyper
from nlp.training.params import TrainingParams

if TYPE_CHECKING:
    import torch


def no_tick(_rows: int) -> None:
    """Go on."""


@dataclass(frozen=True)
class Example:
    """One row as the model learns from it."""

    tokens: int  #: what it costs in a batch
    values: Mapping[str, Any]  #: the task's own: token numbers, labels
    cut: bool = False  #: whether it was longer than the model reads


@dataclass(frozen=True)
class Evaluation:
    """How well a model does on rows."""

    metrics: Mapping[str, float]  #: by the field's names, such as ``macro_f1``
    details: Mapping[str, Any] = field(default_factory=dict)  #: JSON: tables, matrices, groups


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a task is made of."""

    base: Path | None  #: folder of the model to start from; None for one from scratch
    reference: str  #: what that model is, such as ``pkg:name`` or ``scratch:marian``
    params: TrainingParams
    device: Device
    rows: Sequence[Row]  #: to train on; each is read when it is asked for
    scratch: Path  #: an empty folder for whatever the task needs beside the model
    kept: Path | None = None  #: on resume, the folder that :meth:`Task.keep` filled
    #: To be called every few seconds of an evaluation, with the rows just done; raises to end it. Let that pass.
    tick: Callable[[int], None] = no_tick


class Task(ABC):
    """One task with the model that learns it. The loop calls, in this order: :meth:`example` for each row,
    :meth:`loss` for each batch, :meth:`evaluate` after epochs and at the end, :meth:`save` once.

    Made anew from the same :class:`Start`, it must be the same to the last bit, but for what :meth:`keep` keeps:
    the random state is set before. While training, the random state of each step depends on seed and step only.
    """

    #: The number of an evaluation that says which state of the model is best, unless the job names another.
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    #: What learns. Parameters that stay as they are have ``requires_grad`` off.
    model: torch.nn.Module
    #: How it is trained: what suits task, method and model, with what the job says instead.
    hyper: Hyper

    @abstractmethod
    def example(self, row: Row) -> Example:
        """Read one row of the data. Called whenever the row is needed: examples are not kept."""

    @abstractmethod
    def loss(self, batch: Sequence[Example]) -> tuple[torch.Tensor, int]:
        """The sum of the losses over a batch, and how many labels or tokens it is a sum over."""

    @abstractmethod
    def evaluate(self, rows: Sequence[Row]) -> Evaluation:
        """How well the model does on rows that it was not trained on."""

    @abstractmethod
    def baselines(
        self, training: Sequence[Row], rows: Sequence[Row]
    ) -> Mapping[str, Mapping[str, float]]:
        """Metrics on the same rows of what a person would otherwise use, by its name."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Save model and tokenizer as every kind loads them: safetensors, or an adapter."""

    def evaluate_saved(self, folder: Path, rows: Sequence[Row]) -> Evaluation:
        """:meth:`evaluate` of the model that :meth:`save` wrote, loaded again as jobs load it."""
        return self.evaluate(rows)

    def survey(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """What the data report says of rows of one part, such as how many have which label."""
        return {}

    def stepped(self) -> None:  # noqa: B027  (most tasks have nothing to do)
        """Called after each step of the optimizer."""

    def keep(self, folder: Path) -> None:  # noqa: B027  (most tasks are made anew from the same start)
        """Write what a checkpoint must hold beside weights and optimizer into an empty folder."""
