"""Classify: label texts with a trained head, or with labels given in the job (zero-shot)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, StringConstraints, field_validator

from jobs.kinds import Kind, KindParams, LoadOptions, RunContext, Trial
from jobs.measuring import Evaluator, MeasuredParams
from jobs.outtake.columns import ColumnType
from jobs.rows import Outcome, Row, RowFailure
from nlp.engines.agreement import labels_disagree
from nlp.labels import ALL_LABELS, SOME_LABELS, Selection

if TYPE_CHECKING:
    from nlp.classifiers import Classifier
    from nlp.encoder import EncoderModel

#: More than any evaluation tells apart.
_EVERY_LABEL = 10_000

Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ClassifyParams(MeasuredParams):
    """How to classify."""

    candidate_labels: list[Label] | None = Field(
        default=None,
        min_length=2,
        max_length=200,
        description="Labels to choose from without training. Needs an NLI model or a sentence encoder; "
        "leave it out for a model with a trained head.",
        examples=[["billing", "technical problem", "praise"]],
    )
    hypothesis_template: str = Field(
        default="This example is about {}.",
        min_length=3,
        max_length=500,
        description="Sentence that each candidate label is put into, in place of `{}`.",
        examples=["This review is {}."],
    )
    multi_label: bool = Field(
        default=False,
        description="Whether a text may have several labels: each is then scored by itself, 0 to 1. Always so "
        "for heads that were trained that way.",
        examples=[False],
    )
    top_k: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Most labels listed per row. By default all when there are at most "
        f"{ALL_LABELS} or with `evaluate`, else {SOME_LABELS}.",
        examples=[3],
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least score of a label. A row whose best label is below it has `label` null; with "
        "`multi_label`, labels below it are not listed.",
        examples=[0.5],
    )

    @field_validator("candidate_labels")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        if value is None:
            return None
        labels = [label.strip() for label in value]
        if not all(labels):
            raise ValueError("expected labels that are not blank")
        if len(set(labels)) != len(labels):
            raise ValueError("expected labels that differ from one another")
        return labels

    @field_validator("hypothesis_template")
    @classmethod
    def _one_place(cls, value: str) -> str:
        if value.count("{}") != 1:
            raise ValueError("expected exactly one `{}`, where the label goes")
        return value


class Classify(Kind):
    """Label texts."""

    name: ClassVar[str] = "classify"
    summary: ClassVar[str] = (
        "Label texts with a trained classifier, or zero-shot with your own labels."
    )
    Params: ClassVar[type[KindParams]] = ClassifyParams
    engines: ClassVar[tuple[str, ...]] = ("torch", "openvino")
    output_columns: ClassVar[Mapping[str, ColumnType]] = {
        "label": "string",
        "score": "double",
        "labels": "json",
        "method": "string",
        "truncated": "boolean",
    }

    def fields_of(self, params: ClassifyParams) -> frozenset[str]:
        return self.fields | params.measured_fields("labels", "label")

    def evaluator(self, params: ClassifyParams) -> Evaluator | None:
        from nlp.evaluation.answers import LabelAnswers  # noqa: PLC0415

        return LabelAnswers(params, params.threshold) if params.evaluate else None

    def check(self, row: Row, params: ClassifyParams) -> RowFailure | None:
        if row.text.strip():
            return None
        return RowFailure("empty_text", "The text is empty or only white space.")

    def load(self, files: Path, how: LoadOptions) -> EncoderModel:
        from nlp.encoder import EncoderModel  # noqa: PLC0415

        return EncoderModel.load(files, how)

    def disagreement(
        self, reference: EncoderModel, expected: Trial, found: Trial, *, exact: bool
    ) -> str | None:
        return labels_disagree(expected.outcomes, found.outcomes, exact=exact)

    def prepare(
        self, model: EncoderModel, params: ClassifyParams, context: RunContext
    ) -> Classifier:
        from nlp.classifiers import prepare_classifier  # noqa: PLC0415

        trained_multi = model.config.problem_type == "multi_label_classification"
        own_head = params.candidate_labels is None
        selection = Selection(
            multi_label=params.multi_label or (trained_multi and own_head),
            top_k=params.top_k or (_EVERY_LABEL if params.evaluate else None),
            threshold=params.threshold,
        )
        sentences = [
            params.hypothesis_template.replace("{}", label)
            for label in params.candidate_labels or ()
        ]
        return prepare_classifier(model, params.candidate_labels, sentences, selection, context)

    def ahead(
        self,
        model: EncoderModel,
        state: Classifier,
        rows: Sequence[Row],
        params: ClassifyParams,
    ) -> object:
        return state.tokens(rows)

    def run(
        self,
        model: EncoderModel,
        state: Classifier,
        rows: Sequence[Row],
        params: ClassifyParams,
        context: RunContext,
    ) -> list[Outcome]:
        return state.run(rows, context)
