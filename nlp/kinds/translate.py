"""Translate: documents of any length, by translation models, instruction models or a few examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.kinds import KindParams, RunContext
from jobs.measuring import Evaluator
from jobs.outtake.columns import ColumnType
from jobs.rows import Outcome, Row
from nlp.generation.decoding import search_name
from nlp.generation.kind import Instruction, WritingKind, WritingParams

if TYPE_CHECKING:
    from nlp.generation.model import GeneratorModel
    from nlp.translation.translator import Translator

_Code = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_() \-]{1,39}$")]
_Line = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\r\n]*\S[^\r\n]*$")]


class ExampleParams(BaseModel):
    """A text and its translation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    text: _Line = Field(description="A text in the source language.", examples=["Good morning."])
    translation: _Line = Field(
        description="The same in the target language.", examples=["Guten Morgen."]
    )


class TranslateParams(WritingParams):
    """From which language, into which, and how."""

    target_lang: _Code | None = Field(
        default=None,
        description="Language to translate into: a code such as `de`, `zh-Hant` or what the model itself calls it "
        "(`deu_Latn`, `de_DE`), or an English name. Needed unless the model has only one. A row's field of "
        "this name stands above it.",
        examples=["de"],
    )
    source_lang: _Code | None = Field(
        default=None,
        description="Language of the texts, written likewise, or `auto` to tell it from each text. By default the "
        "only one that the model translates from, else `auto`. A row's field of this name stands above it.",
        examples=["auto"],
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=2048,
        description="Most tokens of the translation of one segment, a sentence or a line. By default twice those of "
        "the segment and some more.",
        examples=[128],
    )
    examples: Annotated[list[ExampleParams], Field(max_length=32)] = Field(
        default=[],
        description="Lines with their translations, shown to the model before each text. For instruction models, and "
        "for plain language models, which need them.",
        examples=[[{"text": "Good morning!", "translation": "Guten Morgen!"}]],
    )
    instruction: Instruction | None = Field(
        default=None,
        description="Your own instruction, in place of the built-in one. The text follows it, or takes the place of "
        "`{text}` in it. For instruction models.",
        examples=[
            "Translate this support ticket into formal German. Reply with the translation only."
        ],
    )

    @model_validator(mode="after")
    def _consistent(self) -> TranslateParams:
        if any("{text}" in example.text + example.translation for example in self.examples):
            raise ValueError("examples: expected lines without `{text}`")
        return self


class Translate(WritingKind):
    """Say texts in another language."""

    name: ClassVar[str] = "translate"
    summary: ClassVar[str] = (
        "Translate documents of any length; their layout, placeholders and markup stay as they are."
    )
    Params: ClassVar[type[KindParams]] = TranslateParams
    fields: ClassVar[frozenset[str]] = frozenset({"source_lang", "target_lang"})
    output_columns: ClassVar[Mapping[str, ColumnType]] = {
        "translation": "string",
        "source_lang": "string",
        "target_lang": "string",
        "untranslated": "boolean",
        "truncated": "boolean",
    }
    window_rows: ClassVar[int] = 128

    def evaluator(self, params: TranslateParams) -> Evaluator | None:
        if not params.evaluate:
            return None
        from nlp.evaluation.answers import TextAnswers  # noqa: PLC0415

        return TextAnswers(params, "translation", ("copy", str.strip), params.target_lang)

    def search(self, params: TranslateParams) -> str:
        return search_name(
            beams=params.num_beams, temperature=params.temperature, most=params.max_tokens
        )

    def prepare(
        self, model: GeneratorModel, params: TranslateParams, context: RunContext
    ) -> Translator:
        from nlp.translation.prompts import Example  # noqa: PLC0415
        from nlp.translation.translator import TranslationOptions, Translator  # noqa: PLC0415

        examples = tuple(Example(one.text, one.translation) for one in params.examples)
        return Translator(model, TranslationOptions(**{**params.told(), "examples": examples}))

    def run(
        self,
        model: GeneratorModel,
        state: Translator,
        rows: Sequence[Row],
        params: TranslateParams,
        context: RunContext,
    ) -> list[Outcome]:
        return state.run(rows, context)
