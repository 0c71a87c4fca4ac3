"""Documents, cut and put together again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.translation.segments import spacing, split_document


def translated(text: str, *, sentences: bool = True, language: str = "en") -> list[str]:
    parts = split_document(text, language=language, sentences=sentences)
    assert "".join(part.text for part in parts) == text
    return [part.text for part in parts if not part.stays]


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("It rains. Take a coat!\n\nGo.", ["It rains.", "Take a coat!", "Go."]),
        ("# Title\n\n1. One. Two.\n  - Three", ["Title", "One.", "Two.", "Three"]),
        ("> Quoted.\n***\n12:30\n", ["Quoted."]),
        ("See https://a.b/x.html?q=A. Then go.", ["See https://a.b/x.html?q=A.", "Then go."]),
        ("Ask `a. B` now. Then `c`.", ["Ask `a. B` now.", "Then `c`."]),
        ("<p>Hi <i>you</i>.</p>\n<pre>a. b</pre>", ["Hi <i>you</i>."]),
        ("```\nThe code. Here.\n```\nThe text.", ["The text."]),
        ("雨が降る。傘を持つ。", ["雨が降る。", "傘を持つ。"]),
        (" \t ", []),
    ],
)
def test_what_is_translated(text: str, segments: list[str]) -> None:
    assert translated(text) == segments


def test_whole_lines() -> None:
    assert translated("One. Two.\r\nThree.", sentences=False) == ["One. Two.", "Three."]


def test_rules_of_a_language() -> None:
    text = "Am 3. Mai bin ich da. Dr. Müller auch."
    assert translated(text, language="de") == ["Am 3. Mai bin ich da.", "Dr. Müller auch."]


@given(st.text(alphabet="aB .!?\n\r\t-#`{}<>/é\u00a0\u2028\u3002%", max_size=120))
def test_a_document_joined_is_the_document(text: str) -> None:
    translated(text)
    translated(text, sentences=False)


def test_space_between_sentences_that_had_none() -> None:
    assert spacing("It rains.", "en") == " "
    assert spacing("It rains. ", "en") == ""
    assert spacing("下雨了。", "zh-Hant") == ""
