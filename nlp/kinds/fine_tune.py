"""``fine_tune``: train a model on labelled rows; the product is a version in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from jobs.kinds import KindParams
from jobs.outtake.columns import ColumnType
from jobs.rows import Row, RowFailure, Success
from jobs.training import TrainingKind, TrainingRun
from nlp.training.fields import check_row, fields_of
from nlp.training.params import TrainingParams


class FineTune(TrainingKind):
    """Trains a model for a task."""

    name: ClassVar[str] = "fine_tune"
    summary: ClassVar[str] = "Train a model on your rows; the next job can use it"
    Params: ClassVar[type[KindParams]] = TrainingParams
    output_columns: ClassVar[Mapping[str, ColumnType]] = {"model": "string", "version": "string"}
    divides: ClassVar[bool] = True

    def fields_of(self, params: TrainingParams) -> frozenset[str]:
        return fields_of(params)

    def files(self, params: TrainingParams) -> Mapping[str, str]:
        chosen = {"validation": params.validation, "test": params.test}
        return {part: name for part, name in chosen.items() if isinstance(name, str)}

    def check(self, row: Row, params: Any) -> RowFailure | None:
        return check_row(row, params)

    def train(self, run: TrainingRun) -> Success:
        from nlp.training.run import train  # noqa: PLC0415

        return train(run)
