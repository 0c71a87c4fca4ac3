"""In which language a text is written: for rows that do not say so themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from nlp.translation.languages import tag_of

#: Characters of a text that are looked at: more change nothing and take longer.
_LOOKED_AT = 2000
#: The least probability of a language that counts; strings without a known word stay below.
_ENOUGH = 0.1
#: How much likelier than the likeliest expected language another must be before it is believed instead.
_MUCH_LIKELIER = 2.0
#: From this probability on a text is said to be in a language that was not expected.
_SURE = 0.5
#: The identifier's label for what is no language.
_NOTHING = "zxx"


@dataclass(frozen=True)
class Detected:
    """What a text seems to be written in, by tag."""

    tag: str | None  #: one of those expected; None: it cannot be told
    other: str | None = None  #: a language that was not expected and that the text certainly is in


def detect(text: str, expected: Iterable[str] | None) -> Detected:
    """The language of a text.

    Args:
        expected: tags of the languages that it may be in; None: any.

    Probabilities are those of the identifier over all its languages, so that a text in none of the expected
    ones is found out. Short texts are often undecided between likely and far-fetched languages: there the expected
    ones are preferred.
    """
    ranked = _ranked(text[:_LOOKED_AT])
    allowed = None if expected is None else frozenset(expected)
    best = next(
        (
            (tag, share)
            for tag, share in ranked
            if tag != _NOTHING and (allowed is None or tag in allowed)
        ),
        None,
    )
    likeliest, most = ranked[0]
    if best is not None and best[1] >= _ENOUGH and best[1] * _MUCH_LIKELIER >= most:
        return Detected(best[0])
    if most >= _SURE and likeliest != _NOTHING and likeliest not in (allowed or ()):
        return Detected(None, likeliest)
    return Detected(None)


def detectable() -> frozenset[str]:
    """Tags of the languages that can be told apart."""
    return frozenset(tag_of(label) for label in _identifier().labels if label != _NOTHING)


def _ranked(text: str) -> list[tuple[str, float]]:
    """Tags by descending probability."""
    ranked: list[tuple[str, float]] = _identifier().rank(text)
    return [(_NOTHING if label == _NOTHING else tag_of(label), share) for label, share in ranked]


@cache
def _identifier() -> Any:  # it has no types
    """The identifier: loaded once in a process, in under a second, and 75 MB large."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
