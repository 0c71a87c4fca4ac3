"""What a model learns: rows become examples, a batch becomes a loss, and what was learnt is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jobs.rows import Row

if TYPE_CHECKING:
    import torch


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


class Task(ABC):
    """One task with the model that learns it. The loop calls, in this order: :meth:`example` for each row,
    :meth:`loss` for each batch, :meth:`evaluate` after epochs and at the end, :meth:`save` once."""

    #: The number of an evaluation that says which state of the model is best, unless the job names another.
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    #: What learns. Parameters that stay as they are have ``requires_grad`` off.
    model: torch.nn.Module

    @abstractmethod
    def example(self, row: Row) -> Example:
        """Read one row of the data."""

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
