"""Telling the language of a text."""

from __future__ import annotations

import pytest

from nlp.translation.detection import Detected, detect, detectable

KNOWN = {
    "en": "The parcel came two days late and the box was torn open.",
    "de": "Das Paket kam zwei Tage zu spät.",
    "fr": "Le colis est arrivé avec deux jours de retard.",
    "es": "El paquete llegó dos días tarde.",
    "ru": "Пакет прибыл с опозданием на два дня.",  # noqa: RUF001
    "zh": "包裹晚了两天到。",
    "ja": "小包が二日遅れて届いた。",
    "cs": "Balíček přišel o dva dny později.",
    "hu": "A csomag két nappal később érkezett.",
}


@pytest.mark.parametrize("tag", KNOWN)
def test_sentences(tag: str) -> None:
    assert detect(KNOWN[tag], None) == Detected(tag)
    assert detect(KNOWN[tag], KNOWN) == Detected(tag)


def test_a_language_that_was_not_expected() -> None:
    assert detect(KNOWN["hu"], {"en", "de"}) == Detected(None, "hu")


@pytest.mark.parametrize("text", ["", "12:30", "OK", "asdf qwer zxcv", "🎉"])
def test_what_cannot_be_told(text: str) -> None:
    assert detect(text, None) == Detected(None)
    assert detect(text, {"en", "de"}) == Detected(None)


def test_expected_languages_are_preferred_where_a_text_is_short() -> None:
    assert detect("Hallo Welt", {"en", "de", "nl"}) == Detected("de")


def test_only_the_beginning_of_a_long_text_counts() -> None:
    assert detect(KNOWN["de"] * 100 + KNOWN["fr"] * 1000, None) == Detected("de")


def test_how_many_there_are() -> None:
    assert {"en", "no", "fil", "zh", "sw"} <= detectable()
    assert len(detectable()) > 130
