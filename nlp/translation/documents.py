"""One document on its way through a model: what is asked of it, and what its answers become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.rows import Outcome, RowFailure, Success, Usage
from nlp.translation.placeholders import has_words, mask, pieces, spans
from nlp.translation.routes import Route
from nlp.translation.segments import Part, spacing

#: Names one of a document's texts: the place of a segment, and in it the number of a piece.
Key = tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What a model made of one text."""

    text: str
    usage: Usage = field(default_factory=Usage)
    cut: bool = False  #: whether it was still writing at its limit


@dataclass
class Document:
    """A row, its parts, and their translations.

    It is asked for texts twice: :meth:`first`, whole segments with markers in the place of spans, and :meth:`second`,
    the pieces between the spans of those segments whose markers did not come back.
    """

    route: Route
    parts: Sequence[Part]
    _made: dict[int, str] = field(default_factory=dict)
    _broken: list[int] = field(default_factory=list)
    _usage: Usage = field(default_factory=Usage)
    _truncated: bool = False
    _failure: RowFailure | None = None

    def first(self) -> dict[Key, str]:
        """Texts to translate, by a key to answer them with."""
        asked: dict[Key, str] = {}
        for place, part in enumerate(self.parts):
            if part.stays:
                continue
            masked = mask(part.text)
            if masked is None and spans(part.text):
                self._broken.append(place)
            else:
                asked[place,] = masked.text if masked else part.text
        return asked

    def take_first(self, answers: Mapping[Key, Answer | RowFailure]) -> None:
        """The answers to :meth:`first`."""
        for (place, *_), answer in answers.items():
            text = self._text_of(answer)
            masked = mask(self.parts[place].text)
            restored = masked.restore(text) if masked else text
            if restored is None:
                self._broken.append(place)
            else:
                self._made[place] = restored

    def second(self) -> dict[Key, str]:
        """Texts to translate, by a key to answer them with; none where all is well."""
        if self._failure:
            return {}
        return {
            (place, number): text[slice(*_body(text))]
            for place in self._broken
            for number, text in self._between_spans(place)
        }

    def take_second(self, answers: Mapping[Key, Answer | RowFailure]) -> None:
        """The answers to :meth:`second`."""
        texts = {key: self._text_of(answer) for key, answer in answers.items()}
        for place in self._broken:
            joined = ""
            for number, (piece, _) in enumerate(pieces(self.parts[place].text)):
                joined += _with_margins(piece, texts.get((place, number)))
            self._made[place] = joined

    def outcome(self) -> Outcome:
        """The whole translation, or why there is none."""
        if self._failure is not None:
            return self._failure
        text = ""
        for place, part in enumerate(self.parts):
            if part.stays:
                text += part.text
                continue
            if place and not self.parts[place - 1].stays:
                text += spacing(text, self.route.target.tag)
            text += self._made[place]
        source = self.route.source
        output: dict[str, Any] = {
            "translation": text,
            "source_lang": source.tag if source else None,
            "target_lang": self.route.target.tag,
        }
        if self._truncated:
            output["truncated"] = True
        if all(part.stays for part in self.parts):
            output["untranslated"] = True
        return Success(output, self._usage)

    def _text_of(self, answer: Answer | RowFailure) -> str:
        if isinstance(answer, RowFailure):
            self._failure = self._failure or answer
            return ""
        self._usage += answer.usage
        self._truncated |= answer.cut
        return answer.text

    def _between_spans(self, place: int) -> Iterator[tuple[int, str]]:
        for number, (piece, is_span) in enumerate(pieces(self.parts[place].text)):
            if not is_span and has_words(piece):
                yield number, piece


def _body(piece: str) -> tuple[int, int]:
    """Where the words of a piece begin, behind a comma that followed a span, and where they end."""
    start = next((place for place, one in enumerate(piece) if one.isalnum()), 0)
    return start, len(piece.rstrip())


def _with_margins(piece: str, translation: str | None) -> str:
    """A translation between what stood around the words of the original; None: the original."""
    if translation is None:
        return piece
    start, stop = _body(piece)
    return f"{piece[:start]}{translation}{piece[stop:]}"
