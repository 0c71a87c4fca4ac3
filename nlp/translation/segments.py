"""Documents as what is translated and what stays: cut into segments, and put together again.

Line breaks, empty lines, white space and whatever holds no words stay as they are. What is between two line breaks is
translated by itself, as sentences or as a whole; text that wraps at a width should be joined beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nlp.sentences import split_sentences
from nlp.translation.placeholders import blocks, has_words, spans, trim

_LINES = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
#: What begins a line of a list, a heading or a quotation.
_LEAD = re.compile(r"\s*(?:(?:[#>*+\u2022\u2013-]{1,6}|[0-9]{1,3}[.)]|[A-Za-z]\))\s+)+")
#: Languages whose sentences follow one another without white space.
_UNSPACED = frozenset({"bo", "ja", "km", "lo", "my", "th", "yue", "zh"})


@dataclass(frozen=True)
class Part:
    """A stretch of a document."""

    text: str
    stays: bool  #: whether it is the same in the translation


def split_document(text: str, *, language: str | None, sentences: bool) -> list[Part]:
    """The parts of a document: joined, their texts are the document again.

    Args:
        language: tag of what it is written in, for its rules about sentences.
        sentences: whether each sentence is a part of its own, rather than each line.
    """
    parts: list[Part] = []
    end = 0
    for start, stop in [*blocks(text), (len(text), len(text))]:
        for line in _LINES.findall(text[end:start]):
            parts += _of_line(line, language, sentences=sentences)
        parts.append(Part(text[start:stop], stays=True))
        end = stop
    return [part for part in parts if part.text]


def spacing(before: str, language: str) -> str:
    """What goes between two translated sentences that no white space separated.

    Chinese and Japanese have none there, and others need it.
    """
    spaced = language.partition("-")[0] not in _UNSPACED
    return " " if spaced and before and not before[-1].isspace() else ""


def _of_line(line: str, language: str | None, *, sentences: bool) -> Iterator[Part]:
    if not has_words(line):
        yield Part(line, stays=True)
        return
    lead = _LEAD.match(line)
    start = lead.end() if lead else 0
    yield Part(line[:start], stays=True)
    for piece in _sentences(line[start:], language) if sentences else [line[start:]]:
        if not has_words(piece):
            yield Part(piece, stays=True)
            continue
        before, body, after = trim(piece)
        yield Part(before, stays=True)
        yield Part(body, stays=False)
        yield Part(after, stays=True)


def _sentences(line: str, language: str | None) -> list[str]:
    """Sentences of a line. Spans look like names meanwhile: full stops inside them end nothing."""
    shown = list(line)
    for start, stop in spans(line):
        shown[start:stop] = "X" + "x" * (stop - start - 1)
    found: list[str] = []
    end = 0
    for sentence in split_sentences("".join(shown), (language or "en").partition("-")[0]):
        found.append(line[end : end + len(sentence)])
        end += len(sentence)
    return found
