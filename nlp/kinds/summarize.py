"""Summarize: documents of any length, by instruction models or trained summarizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from jobs.kinds import Kind, KindParams, LoadOptions, RunContext, Trial
from jobs.measuring import Evaluator, MeasuredParams
from jobs.outtake.columns import ColumnType
from jobs.rows import Outcome, Row, RowFailure
from nlp.generation.decoding import search_name
from nlp.prompts import MAX_TOKENS, Style

if TYPE_CHECKING:
    from nlp.generation.model import GeneratorModel
    from nlp.summarizer import Summarizer

_DEFAULTS = ", ".join(f"{tokens} for a {style}" for style, tokens in MAX_TOKENS.items())


class SummarizeParams(MeasuredParams):
    """What a summary shall be like."""

    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description=f"Most tokens of a summary. By default by style: {_DEFAULTS}. A half sentence left over "
        "at this limit is dropped.",
        examples=[64],
    )
    min_tokens: int = Field(
        default=0, ge=0, le=1024, description="Fewest tokens of a summary.", examples=[10]
    )
    style: Style | None = Field(
        default=None,
        description="`sentence`, `paragraph` or `bullets`. By default one sentence from instruction models, "
        "and whatever a trained summarizer was trained to write.",
        examples=["sentence"],
    )
    language: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z][A-Za-z \-]{1,39}$",
        description="Language of the summary, as a name or a two-letter code; by default that of the text. "
        "For instruction models only.",
        examples=["German"],
    )
    instruction: str | None = Field(
        default=None,
        min_length=1,
        max_length=4000,
        description="Your own instruction, in place of the built-in one. The text follows it, or takes the "
        "place of `{text}` in it. For instruction models and T5.",
        examples=["Summarize this support ticket for an engineer, in one sentence."],
    )
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
        description="Seed of the draws: the same text and seed give the same summary.",
        examples=[0],
    )

    @model_validator(mode="after")
    def _consistent(self) -> SummarizeParams:
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(
                f"min_tokens: expected at most max_tokens ({self.max_tokens}), found {self.min_tokens}"
            )
        if self.max_tokens is None and self.min_tokens > MAX_TOKENS[self.style or "sentence"]:
            raise ValueError("min_tokens: expected max_tokens too, at least as large")
        if self.temperature > 0 and (self.num_beams or 1) > 1:
            raise ValueError("num_beams: expected 1 when temperature is above 0")
        if self.instruction is not None and self.instruction.count("{text}") > 1:
            raise ValueError("instruction: expected `{text}` at most once")
        return self


class Summarize(Kind):
    """Shorten texts."""

    name: ClassVar[str] = "summarize"
    summary: ClassVar[str] = (
        "Summarize documents of any length into a sentence, paragraph or bullets."
    )
    Params: ClassVar[type[KindParams]] = SummarizeParams
    output_columns: ClassVar[Mapping[str, ColumnType]] = {
        "summary": "string",
        "chunks": "int64",
        "truncated": "boolean",
    }
    window_rows: ClassVar[int] = 64
    engines: ClassVar[tuple[str, ...]] = ("torch", "ctranslate2")

    def fields_of(self, params: SummarizeParams) -> frozenset[str]:
        return self.fields | params.measured_fields("target")

    def evaluator(self, params: SummarizeParams) -> Evaluator | None:
        if not params.evaluate:
            return None
        from nlp.evaluation.answers import TextAnswers  # noqa: PLC0415
        from nlp.sentences import first_sentence  # noqa: PLC0415

        return TextAnswers(params, "summary", ("lead", first_sentence))

    def check(self, row: Row, params: SummarizeParams) -> RowFailure | None:
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

    def search(self, params: SummarizeParams) -> str:
        return search_name(
            beams=params.num_beams,
            temperature=params.temperature,
            most=params.max_tokens,
            least=params.min_tokens,
        )

    def prepare(
        self, model: GeneratorModel, params: SummarizeParams, context: RunContext
    ) -> Summarizer:
        from nlp.summarizer import Summarizer, SummaryOptions  # noqa: PLC0415

        options = SummaryOptions(**params.model_dump(exclude={"precision", "engine"}))
        return Summarizer(model, options, context)

    def run(
        self,
        model: GeneratorModel,
        state: Summarizer,
        rows: Sequence[Row],
        params: SummarizeParams,
        context: RunContext,
    ) -> list[Outcome]:
        return state.run(rows, context)
