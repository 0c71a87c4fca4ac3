"""Measuring the results of a job against gold answers that its rows bring along."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator

from jobs.kinds import KindParams
from jobs.rows import Row

_FieldName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class MeasuredParams(KindParams):
    """Parameters of kinds whose results can be measured."""

    evaluate: bool = Field(
        default=False,
        description="Whether to measure the results against gold answers in the rows, in the fields in which "
        "`fine_tune` has them. The job's `evaluation` then holds the numbers.",
        examples=[True],
    )
    gold_field: _FieldName | None = Field(
        default=None,
        description="With `evaluate`: another field that holds the gold answers.",
        examples=["section"],
    )
    group_field: _FieldName | None = Field(
        default=None,
        description="With `evaluate`: a further field; the results are also measured for each of its values.",
        examples=["country"],
    )

    @model_validator(mode="after")
    def _fields_are_for_evaluations(self) -> Self:
        if not self.evaluate and (self.gold_field or self.group_field):
            raise ValueError(
                "expected `evaluate` to be true where gold_field or group_field is named"
            )
        return self

    def measured_fields(self, *gold: str) -> frozenset[str]:
        """Row fields that an evaluation reads; none without one.

        Args:
            gold: fields of the gold answers where none is named.
        """
        if not self.evaluate:
            return frozenset()
        answers = {self.gold_field} if self.gold_field else {*gold}
        return frozenset(answers | ({self.group_field} if self.group_field else set()))


class Evaluator(ABC):
    """Counts the results of a job, in bounded memory. The same results must give the same evaluation."""

    #: Results that are measured at most; of more, every second, third… one. None: all of them.
    most: ClassVar[int | None] = None

    @abstractmethod
    def add(self, row: Row, output: Mapping[str, Any]) -> None:
        """Count one result.

        Args:
            row: with its fields.
            output: what the job made of it.
        """

    @abstractmethod
    def evaluation(self) -> dict[str, Any]:
        """JSON values:

        - ``gold_field``: where the gold answers were;
        - ``rows``: results that were measured; ``without_gold``: those that were not, for lack of a gold answer;
        - ``metrics``: numbers by name; ``baselines``: the same of answers that cost nothing, by their names;
        - ``details``: tables of any length;
        - ``problem``: why there is nothing to tell, where that is so.
        """
