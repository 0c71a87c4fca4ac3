"""Cutting text at sentence ends."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.sentences import (
    bullet_points,
    drop_half_sentence,
    first_sentence,
    split_sentences,
    split_to_fit,
)


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def count_characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


@given(
    st.text(alphabet="aBé .!?\n\r\t-。।\"'“”()\u00a0\u2003\u2028\u0301😀", max_size=80),
    st.sampled_from(["en", "de", "fr", "ja", "hi", "ar", "ru", "el", "fil", "gsw", "yue"]),
)
def test_sentences_joined_are_the_text(text: str, language: str) -> None:
    assert "".join(split_sentences(text, language)) == text


def test_odd_white_space() -> None:
    # Without the care taken of it, version 1.0.32 of the segmenter panics on this.
    assert "".join(split_sentences("A\u00a0.")) == "A\u00a0."


def test_long_lines_take_time_in_proportion() -> None:
    text = "“a. " * 100_000
    started = time.perf_counter()
    assert "".join(split_sentences(text)) == text
    assert time.perf_counter() - started < 20  # seconds; as one stretch it would take over a minute


def test_rules_of_a_language() -> None:
    text = "Am 3. Mai bin ich da. Gut."
    assert split_sentences(text, "de") == ["Am 3. Mai bin ich da. ", "Gut."]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rains. Take a coat!", ["It rains. ", "Take a coat!"]),
        (
            "See e.g. Node.js 3.5 by Dr. J. Doe. Fine.",
            ["See e.g. Node.js 3.5 by Dr. J. Doe. ", "Fine."],
        ),
        ('She said "no." Then left.', ['She said "no." ', "Then left."]),
        ("A list:\n\n- one\n- two", ["A list:\n\n", "- one\n", "- two"]),
        ("雨が降る。傘を持つ。", ["雨が降る。", "傘を持つ。"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_sentence_ends(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(st.text(alphabet="aB .\n", max_size=300), st.integers(min_value=1, max_value=40))
def test_pieces_fit_and_joined_are_the_text(text: str, limit: int) -> None:
    pieces = split_to_fit(text, limit, count_characters)
    assert "".join(pieces) == text
    assert all(len(piece) <= limit for piece in pieces)


def test_pieces_end_with_sentences_and_are_of_like_size() -> None:
    text = "One two three four. " * 10
    pieces = split_to_fit(text, 30, count_words)
    assert [len(piece.split()) for piece in pieces] == [20, 20]


def test_tidying() -> None:
    assert first_sentence(" A tool. It is old.") == "A tool."
    assert drop_half_sentence("A tool. It is very") == "A tool."
    assert drop_half_sentence("It is very") == "It is very"
    assert drop_half_sentence("Whole. Also whole.") == "Whole. Also whole."
    assert bullet_points("* one\n2. two\n\n• three") == "- one\n- two\n- three"
    assert bullet_points("One. Two.") == "- One.\n- Two."
