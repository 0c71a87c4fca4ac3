"""Dates in English and German, as the Unicode CLDR writes them: a small language that can be learnt in a minute."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

from babel.dates import format_date, format_skeleton

#: The days: four decades.
_FIRST, _DAYS = date(1990, 1, 1), 40 * 365
#: Ways to write a day. Not ``medium``: in May it is the same as ``long`` in English, and another in German. Nor
#: ``short``: it has no word in it, and what has none is left as it is by whoever translates.
_STYLES = ("full", "long", "yMMMEd")
#: Chooses the same dates on every run.
_SEED = 29


@dataclass(frozen=True)
class DatePair:
    """A date in both languages."""

    english: str
    german: str

    def row(self) -> dict[str, str]:
        """As a row to train on."""
        return {"text": self.english, "target": self.german}


def date_pairs(count: int) -> list[DatePair]:
    """So many different dates in a fixed random order: fewer of them are the first of more.

    Args:
        count: at most 40,000.
    """
    numbers = list(range(_DAYS * len(_STYLES)))
    random.Random(_SEED).shuffle(numbers)  # noqa: S311  (a choice of examples, not a secret)
    return [
        _pair(_FIRST + timedelta(n // len(_STYLES)), _STYLES[n % len(_STYLES)])
        for n in numbers[:count]
    ]


def _pair(day: date, style: str) -> DatePair:
    english, german = (
        # Between the parts of a date CLDR has spaces of several sorts, which no one types.
        " ".join(_written(day, style, locale).split())
        for locale in ("en", "de")
    )
    return DatePair(english, german)


def _written(day: date, style: str, locale: str) -> str:
    if style.startswith("y"):  # a skeleton: which parts of a date there are, and how long
        return format_skeleton(style, day, locale=locale)
    return format_date(day, style, locale=locale)
