"""What a translation leaves alone, and that it always comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.translation.placeholders import blocks, has_words, mask, pieces, spans, trim, words

SPANS = [
    "{name}", "{}", "{0:>5}", "{{var}}", "{% if x %}", "%s", "%d", "%1$s", "%(name)d", "%5.2f", "$HOME", "${VAR}",
    "%PATH%", "https://x.org/a?b=1#c", "s3://bucket/key", "www.example.com/a", "mailto:a@b.org", "me.too@example.co.uk",
    "<b>", "</b>", '<a href="x">', "<br/>", "&amp;", "&#8212;", "`pip install x`", "``a`b``", "/etc/passwd", "./run.sh",
    "~/.bashrc", "C:\\Users\\me",
]  # fmt: skip


@pytest.mark.parametrize("span", SPANS)
def test_spans_are_found(span: str) -> None:
    text = f"Use {span} here."
    assert [text[start:end] for start, end in spans(text)] == [span]


@pytest.mark.parametrize(
    "text",
    [
        "100% sure, 50 % of it",
        "and/or",
        "5 /month",
        "It costs $5.",
        "a < b and c > d",
        "AT&T",
        "me@home",
        "f(x) [1]",
    ],
)
def test_prose_is_no_span(text: str) -> None:
    assert spans(text) == []


def test_a_full_stop_ends_the_sentence_and_not_the_address() -> None:
    text = "See https://x.org/a. Mail me@x.de! [Read it](https://x.org/(a)) or (www.x.org)."
    found = [text[start:end] for start, end in spans(text)]
    assert found[:2] == ["https://x.org/a", "me@x.de"]
    assert "www.x.org" in found


def test_the_words_of_a_link_are_translated() -> None:
    masked = mask("See [the docs](https://x.org) now")
    assert masked is not None
    assert masked.text == "See %1the docs%2 now"
    assert masked.restore("Siehe %1die Doku% 2 jetzt") == "Siehe [die Doku](https://x.org) jetzt"


@pytest.mark.parametrize("translation", ["%1", "%2 %1", "%1 %2 %2", "%1 %2 %3", "", "1 2", "%12"])
def test_markers_that_do_not_come_back_are_noticed(translation: str) -> None:
    masked = mask("{a} of {b}")
    assert masked is not None
    assert masked.restore(translation) is None


def test_where_markers_cannot_be_used() -> None:
    assert mask("no span") is None
    assert mask(" ".join(["{a}"] * 10)) is None
    other = mask("%1 of {name}")
    assert other is not None
    assert other.text == "%1 of #1"
    assert mask("{name}5 times") is None


def test_blocks_hold_no_prose() -> None:
    text = "a\n```py\nfoo()\n```\nb <pre>x\ny</pre> c <!-- d\n --> e"
    assert [text[start:end] for start, end in blocks(text)] == [
        "```py\nfoo()\n```", "<pre>x\ny</pre>", "<!-- d\n -->",
    ]  # fmt: skip
    assert words(text).split() == ["a", "b", "c", "e"]


@pytest.mark.parametrize("text", ["12:30", "{name}", "https://x.org", "<b></b>", "- 5 %", "🎉", ""])
def test_nothing_to_translate(text: str) -> None:
    assert not has_words(text)


def test_tags_and_white_space_around_a_segment_are_cut_off() -> None:
    assert trim(" <p> Hi <b>you</b>!</p> ") == (" <p> ", "Hi <b>you</b>!", "</p> ")
    assert trim("{name} left") == ("", "{name} left", "")


TEXTS = st.lists(
    st.one_of(st.sampled_from(SPANS), st.text("aB .%1#{}<>/&`[]()$@\n", max_size=8)), max_size=12
).map("".join)


@given(TEXTS)
def test_nothing_is_lost_in_cutting(text: str) -> None:
    assert "".join(piece for piece, _ in pieces(text)) == text
    assert "".join(trim(text)) == text
    for line in text.split("\n"):
        masked = mask(line)
        if masked is not None:
            assert masked.restore(masked.text) == line
