"""Summarize: documents of any length, by instruction models or trained summarizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from jobs.kinds import KindParams, RunContext
from jobs.measuring import Evaluator
from jobs.outtake.columns import ColumnType
from jobs.rows import Outcome, Row
from nlp.generation.decoding import search_name
from nlp.generation.kind import Instruction, WritingKind, WritingParams
from nlp.prompts import MAX_TOKENS, Style

if TYPE_CHECKING:
    from nlp.generation.model import GeneratorModel
    from nlp.summarizer import Summarizer

_DEFAULTS = ", ".join(f"{tokens} for a {style}" for style, tokens in MAX_TOKENS.items())


class SummarizeParams(WritingParams):
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
    instruction: Instruction | None = Field(
        default=None,
        description="Your own instruction, in place of the built-in one. The text follows it, or takes the "
        "place of `{text}` in it. For instruction models and T5.",
        examples=["Summarize this support ticket for an engineer, in one sentence."],
    )

    @model_validator(mode="after")
    def _consistent(self) -> SummarizeParams:
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(
                f"min_tokens: expected at most max_tokens ({self.max_tokens}), found {self.min_tokens}"
            )
        if self.max_tokens is None and self.min_tokens > MAX_TOKENS[self.style or "sentence"]:
            raise ValueError("min_tokens: expected max_tokens too, at least as large")
        return self


class Summarize(WritingKind):
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

    def evaluator(self, params: SummarizeParams) -> Evaluator | None:
        if not params.evaluate:
            return None
        from nlp.evaluation.answers import TextAnswers  # noqa: PLC0415
        from nlp.sentences import first_sentence  # noqa: PLC0415

        return TextAnswers(params, "summary", ("lead", first_sentence))

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

        options = SummaryOptions(**params.told())
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
