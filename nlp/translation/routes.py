"""From which language to which a row goes: what the job, the row, the model and the text itself say."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import JobFailure
from jobs.rows import Row, RowFailure
from nlp.translation.detection import detect
from nlp.translation.families import Family
from nlp.translation.languages import Language, Languages, UnknownLanguageError
from nlp.translation.placeholders import words

#: Says that each text's language shall be found out.
AUTO = "auto"
#: Fields of a row that stand above the job's parameters of the same name.
FIELDS = ("source_lang", "target_lang")


@dataclass(frozen=True)
class Route:
    """Two languages; the source is None where it cannot be told and the model need not know."""

    source: Language | None
    target: Language

    @property
    def stays(self) -> bool:
        """Whether there is nothing to translate."""
        return self.source is not None and self.source.tag == self.target.tag


class Router:
    """Finds the route of each row.

    Raises:
        JobFailure: ``invalid_params``, the job's languages are none that the model knows.
    """

    def __init__(self, family: Family, source: str | None, target: str | None) -> None:
        self._family = family
        self._source = family.default_source if source is None else self._given_source(source)
        self._target = family.default_target if target is None else self._given_target(target)
        both = self._source and self._target and Route(self._source, self._target)
        if both and both.stays:
            raise _wrong("target_lang", "Expected another language than `source_lang`.")
        if self._target is not None:
            reason = self._family.check(self._source, self._target)
            if reason:
                raise _wrong("target_lang", reason)

    @property
    def usual(self) -> Route | None:
        """The route of rows that say nothing of their own, where it does not depend on their text."""
        if self._target is None or (self._source is None and self._family.needs_source):
            return None
        return Route(self._source, self._target)

    def route(self, row: Row) -> Route | RowFailure:
        """Where a row goes, or ``language_unknown`` or ``language_unsupported``."""
        try:
            target = self._of_field(row, "target_lang", self._family.targets) or self._target
            source = self._of_field(row, "source_lang", self._family.sources)
        except UnknownLanguageError as error:
            return RowFailure("language_unsupported", str(error))
        if target is None:
            return RowFailure(
                "language_unknown", "Neither the job nor the row says what to translate into."
            )
        auto = row.fields.get("source_lang") == AUTO
        source = source or (None if auto else self._source)
        if source is None:
            found = self._detected(row, target)
            if isinstance(found, RowFailure):
                return found
            source = found
        route = Route(source, target)
        reason = None if route.stays else self._family.check(source, target)
        return RowFailure("language_unsupported", reason) if reason else route

    def _detected(self, row: Row, target: Language) -> Language | RowFailure | None:
        sources = self._family.sources
        expected = None if sources.is_open else {*(one.tag for one in sources), target.tag}
        found = detect(words(row.text), expected)
        if found.tag == target.tag:
            return target
        if found.tag is not None:
            return sources.find(found.tag)
        if found.other is not None:
            return RowFailure(
                "language_unsupported",
                f"The text seems to be in {found.other!r}, which the model does not translate from. "
                f"{sources.listing()}",
            )
        if self._family.needs_source:
            return RowFailure(
                "language_unknown",
                "The language of the text cannot be told: set `source_lang`, for the job or in the row.",
            )
        return None

    def _of_field(self, row: Row, name: str, languages: Languages) -> Language | None:
        value = row.fields.get(name)
        if value is None or value == "" or (name == "source_lang" and value == AUTO):
            return None
        if not isinstance(value, str):
            raise UnknownLanguageError(
                f"{name}: expected a code such as 'de', found {value!r:.100}."
            )
        return languages.find(value)

    def _given_source(self, wanted: str) -> Language | None:
        return None if wanted == AUTO else _find(self._family.sources, wanted, "source_lang")

    def _given_target(self, wanted: str) -> Language:
        return _find(self._family.targets, wanted, "target_lang")


def _find(languages: Languages, wanted: str, name: str) -> Language:
    try:
        return languages.find(wanted)
    except UnknownLanguageError as error:
        raise _wrong(name, str(error)) from error


def _wrong(name: str, reason: str) -> JobFailure:
    return JobFailure("invalid_params", reason, field=f"params.{name}")
