"""How rows are put to a model that shall write: with the very tokens around them that jobs will use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jobs.errors import JobFailure
from jobs.kinds import RunContext
from jobs.rows import Outcome, Row, RowFailure
from nlp.generation.frames import Frame
from nlp.generation.model import GeneratorModel
from nlp.prompts import Style
from nlp.summarizer import Summarizer, SummaryOptions, summary_frame
from nlp.training.scratch import languages_of
from nlp.training.task import Start
from nlp.translation.families import Asking, Multilingual, family_of
from nlp.translation.languages import Language
from nlp.translation.routes import Route, Router
from nlp.translation.translator import TranslationOptions, Translator


class Asker(ABC):
    """One task's way to ask, and to run what was learnt as jobs do."""

    field: str  #: of an outcome's output, with the text that was written

    @abstractmethod
    def frame(self, row: Row) -> tuple[Frame, tuple[int, ...]]:
        """Token ids around the row's text, and those that the answer is forced to begin with.

        Raises:
            JobFailure: ``invalid_params``, it cannot be told how to ask.
        """

    @abstractmethod
    def run(self, model: GeneratorModel, rows: Sequence[Row], context: RunContext) -> list[Outcome]:
        """Let a model write, as jobs of this kind do."""

    @property
    def route(self) -> Route | None:
        """From which language into which, of rows that say nothing of their own."""
        return None


class SummaryAsker(Asker):
    """For ``summarize``."""

    field = "summary"

    def __init__(self, model: GeneratorModel, start: Start) -> None:
        params = start.params
        self._options = SummaryOptions(
            instruction=params.prompt, max_tokens=params.max_target_tokens
        )
        style: Style | None = None if model.is_seq2seq else "sentence"
        self._frame = summary_frame(model, self._options, style)

    def frame(self, row: Row) -> tuple[Frame, tuple[int, ...]]:
        return self._frame, ()

    def run(self, model: GeneratorModel, rows: Sequence[Row], context: RunContext) -> list[Outcome]:
        return Summarizer(model, self._options, context).run(rows, context)


class TranslationAsker(Asker):
    """For ``translate``. Languages that nobody names are told from some of the rows, once for all."""

    field = "translation"

    def __init__(self, model: GeneratorModel, start: Start) -> None:
        self._family = family_of(model, Asking(instruction=start.params.prompt))
        source = start.params.source_lang or _tag(self._family.default_source)
        target = start.params.target_lang or _tag(self._family.default_target)
        if source is None or target is None:
            found = languages_of(start)
            source, target = source or found[0], target or found[1]
        if target is None and not all(row.fields.get("target_lang") for row in start.rows):
            raise _unknown("target_lang", "targets")
        if source is None and self._family.needs_source:
            raise _unknown("source_lang", "texts")
        self._options = TranslationOptions(
            source_lang=source, target_lang=target, instruction=start.params.prompt
        )
        self._router = Router(self._family, source, target)
        self._frames: dict[Route, tuple[Frame, tuple[int, ...]]] = {}

    def frame(self, row: Row) -> tuple[Frame, tuple[int, ...]]:
        found = self._router.usual
        if found is None or row.fields.get("source_lang") or row.fields.get("target_lang"):
            named = self._router.route(row)
            if isinstance(named, RowFailure):
                raise JobFailure(
                    "invalid_params",
                    f"Row {row.index}: {named.message}",
                    field="params.source_lang",
                )
            found = named
        return self._framed(found)

    def run(self, model: GeneratorModel, rows: Sequence[Row], context: RunContext) -> list[Outcome]:
        return Translator(model, self._options).run(rows, context)

    @property
    def route(self) -> Route | None:
        return self._router.usual

    @property
    def names_languages(self) -> bool:
        """Whether answers begin with a token of their language."""
        return isinstance(self._family, Multilingual)

    @property
    def forced(self) -> tuple[int, ...]:
        """How answers to rows that say nothing of their own are forced to begin."""
        return self._framed(self.route)[1] if self.route else ()

    def _framed(self, route: Route) -> tuple[Frame, tuple[int, ...]]:
        if route not in self._frames:
            self._frames[route] = self._family.frame(route.source, route.target)
        return self._frames[route]


def make_asker(model: GeneratorModel, start: Start) -> Asker:
    """The way to ask that suits the task.

    Raises:
        JobFailure: ``invalid_params``, parameters and model do not fit.
    """
    made = SummaryAsker if start.params.task == "summarize" else TranslationAsker
    return made(model, start)


def written(outcome: Outcome, field: str) -> str:
    """What was written; nothing where the model failed."""
    return "" if isinstance(outcome, RowFailure) else str(outcome.output[field])


def _tag(language: Language | None) -> str | None:
    return language.code if language else None


def _unknown(name: str, what: str) -> JobFailure:
    return JobFailure(
        "invalid_params",
        f"It cannot be told what the {what} are written in: name the language, such as `de`.",
        field=f"params.{name}",
    )
