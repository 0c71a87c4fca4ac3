"""What the kinds share whose models write: `summarize` and `translate`. Loads nothing but what parameters need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from jobs.kinds import Kind, LoadOptions, Trial
from jobs.measuring import MeasuredParams
from jobs.rows import Row, RowFailure

if TYPE_CHECKING:
    from nlp.generation.model import GeneratorModel


def _one_place(instruction: str) -> str:
    if instruction.count("{text}") > 1:
        raise ValueError("expected `{text}` at most once")
    return instruction


#: Words around a text, which follows them or takes the place of ``{text}``.
Instruction = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_one_place)]


class WritingParams(MeasuredParams):
    """How to choose tokens, and whether to measure the texts."""

    num_beams: int | None = Field(
        default=None,
        ge=1,
        le=8,
        description="Beams of the search; 1 is greedy. By default as the model's own configuration says.",
        examples=[1],
    )
    temperature: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="0 always takes the likeliest token; above it tokens are drawn at random.",
        examples=[0.0],
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**63 - 1,
        description="Seed of the draws: the same text and seed give the same answer.",
        examples=[0],
    )

    @model_validator(mode="after")
    def _one_way_to_search(self) -> WritingParams:
        if self.temperature > 0 and (self.num_beams or 1) > 1:
            raise ValueError("num_beams: expected 1 when temperature is above 0")
        return self

    def told(self) -> dict[str, Any]:
        """What is asked of the model: all but where it runs, and how its answers are measured."""
        return self.model_dump(exclude={*MeasuredParams.model_fields})


class WritingKind(Kind):
    """Turns texts into others by a decoder or an encoder-decoder."""

    engines: ClassVar[tuple[str, ...]] = ("torch", "ctranslate2")

    def fields_of(self, params: WritingParams) -> frozenset[str]:
        return self.fields | params.measured_fields("target")

    def check(self, row: Row, params: WritingParams) -> RowFailure | None:
        if row.text.strip():
            return None
        return RowFailure("empty_text", "The text is empty or only white space.")

    def load(self, files: Path, how: LoadOptions) -> GeneratorModel:
        from nlp.generation.model import GeneratorModel  # noqa: PLC0415

        return GeneratorModel.load(files, how)

    def disagreement(
        self, reference: GeneratorModel, expected: Trial, found: Trial, *, exact: bool
    ) -> str | None:
        from nlp.generation.agreement import generations_disagree  # noqa: PLC0415

        return generations_disagree(reference, expected.trace, found.trace, exact=exact)
