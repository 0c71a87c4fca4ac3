"""Rows from web pages: what of them is text, in whatever encoding, and pages made to do harm."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.intake import ReadOptions, read_rows
from jobs.intake.webpages import MARKUP_FACTOR, MAX_DEPTH, TooDeep, read_page
from jobs.rows import BadRow, Row

Read = Callable[..., list[Row | BadRow]]

#: Seconds for a page of half a megabyte, whatever it holds; on an idle machine none takes half of one.
MOST_SECONDS = 10

ARTICLE = """<!DOCTYPE html>
<html lang="en"><head>
<meta charset="utf-8"><title>  The mill
 by the river </title>
<style>p { color: red }</style><script>if (a < b) document.write("<p>no</p>")</script>
</head><body>
<header><img alt="logo"><a href="/">Home</a></header>
<nav><ul><li>First</li><li>Second</li></ul></nav>
<main><h1>The mill &amp; the&nbsp;miller</h1>
<p>It   stands<br>by the <b>ri</b><i>ver</i>&hellip;
<p>Since 1848&#x2E; <span hidden>secret</span><span style="display: none">too</span></p>
<ul><li>wheat<li>rye</ul>
<pre>a  b
  c</pre>
<table><tr><th>Year<th>Sacks<tr><td>1848<td>12</table>
<aside>Read also: the bakery</aside><form><button>Send</button>
<label>Mail <input value="x"></label></form>
</main>
<footer>&copy; nobody</footer>
</body></html>"""

TEXT = """The mill by the river

The mill & the miller

It stands
by the river…

Since 1848.

wheat
rye

a  b
  c

Year Sacks
1848 12

Mail"""


def test_a_page_is_its_title_and_its_paragraphs(read: Read) -> None:
    assert read(ARTICLE.encode(), "html") == [Row(0, TEXT, "in")]


def test_title_and_text_can_be_carried_along(read: Read) -> None:
    wanted = frozenset(["title", "author", "body"])
    (row,) = read(ARTICLE.encode(), "html", keep=wanted, text_field="body")
    assert isinstance(row, Row)
    assert row.fields == {"title": "The mill by the river", "body": TEXT}
    (untitled,) = read(b"<p>x", "html", keep=wanted)
    assert isinstance(untitled, Row)
    assert untitled.fields == {}


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("just text", "just text"),
        ("<title>Same</title><h1>Same</h1><p>body", "Same\n\nbody"),
        ("<body hidden style='display:none'><p>shown by a script", "shown by a script"),
        ("<p>a<p>b<div>c<div>d</div></div>e", "a\n\nb\n\nc\nd\ne"),
        ("one<br><br>two<br/>three", "one\n\ntwo\nthree"),
        ("x<svg><title>icon</title><text>drawn</text></svg>y", "xy"),
        ("<title>A</title><svg><title>icon</title></svg><title>B</title>z", "A\n\nz"),
        ("<div role=navigation>menu</div>body", "body"),
        ("<article><header><h1>H</h1></header><p>long enough</article><p>tail", "H\n\nlong enough"),
        ("<article>teaser</article><p>much more text than in it", "teaser\n\nmuch more text than in it"),
        ("<p>soft\N{SOFT HYPHEN}hyphen&#0;&#x7f;", "softhyphen\N{REPLACEMENT CHARACTER}"),
        ("<p>a &lt;b&gt; &nosuch; &amp;amp;", "a <b> &nosuch; &amp;"),
        ("<script/><title/><p>XHTML <br/>closes itself</p>", "XHTML\ncloses itself"),
        ("<select><option>1</select><textarea><p>typed</textarea>kept", "kept"),
    ],
)  # fmt: skip
def test_what_is_text(read: Read, html: str, text: str) -> None:
    (row,) = read((html + " " * 60).encode(), "html")
    assert isinstance(row, Row), row
    assert row.text == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("cp1252"), "Grüße"),
        ("Grüße, „so“".encode("utf-16"), "Grüße, „so“"),
        ("\ufeffGrüße".encode("utf-16-be"), "Grüße"),
        ("\ufeffGrüße".encode(), "Grüße"),
        (b'<meta charset="iso-8859-2">' + "Łódź".encode("iso8859-2"), "Łódź"),
        (
            b'<META http-equiv=Content-Type content="text/html; charset=KOI8-R">'
            + "Мельница".encode("koi8-r"),
            "Мельница",
        ),
        (b"<meta charset=shift_jis>" + "水車小屋".encode("cp932"), "水車小屋"),
        (b"<meta charset=gb2312>" + "磨坊".encode("gbk"), "磨坊"),
        (b'<?xml version="1.0" encoding="EUC-KR"?><p>' + "방앗간".encode("cp949"), "방앗간"),
        # What is said is wrong, or is no encoding of text at all.
        (b"<meta charset=iso-8859-1>" + "Grüße".encode(), "Grüße"),
        (b"<meta charset=utf-16>" + "Grüße".encode(), "Grüße"),
        (b"<meta charset=rot13>Muehle", "Muehle"),
        (b"<meta charset=zlib_codec>Muehle", "Muehle"),
        (b"<meta charset=utf-8>" + b"a word or two " * 9 + b"\xff!", "a word or two " * 9 + "\ufffd!"),
    ],
)  # fmt: skip
def test_encodings(read: Read, data: bytes, text: str) -> None:
    (row,) = read(data, "html")
    assert isinstance(row, Row), row
    assert row.text == text


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"<script>all()</script>", "empty_text", "no text"),
        (b"<title>only a title</title>", "empty_text", "no text"),
        (b" \n ", "empty_text", "no text"),
        (b"\x00\x01\x02\x03" * 99, "invalid_html", "396 of 396"),
        (bytes(range(256)) * 9, "invalid_html", "cannot be read"),
        ("text".encode("utf-32"), "invalid_html", "no text"),
        (gzip.compress(b"<p>page", mtime=0), "invalid_html", "ends in .gz"),
        (b"<p>" + b"x" * 101, "row_too_large", "has 101 bytes"),
        (b"<i>" * (40 * MARKUP_FACTOR), "row_too_large", "tags and all"),
        (b"<div>" * (MAX_DEPTH + 1) + b"x", "invalid_html", "nested deeper than 1000"),
    ],
)
def test_a_bad_page_is_one_bad_row(read: Read, data: bytes, code: str, said: str) -> None:
    limit = 1500 if code == "invalid_html" else 100
    (row,) = read(data, "html", max_row_bytes=limit)
    assert isinstance(row, BadRow)
    assert (row.index, row.line, row.custom_id, row.failure.code) == (0, 1, "in", code)
    assert said in row.failure.message


def test_an_empty_page_has_no_row(read: Read) -> None:
    assert read(b"", "html") == []


def fill(text: str) -> str:
    return text * ((1 << 19) // len(text))


HOSTILE = {
    "depth": fill("<div>"),
    "depth-then-ends": "<div>" * (MAX_DEPTH - 9) + fill("</span>"),
    "formatting": fill("<b>"),
    "reopened-formatting": "".join(f"<b a={n}>" for n in range(400)) + fill("<p>"),
    "misnested": fill("<b><p></b>"),
    "links": fill("<a><p>"),
    "tables": "<table><tr><td>" * 120 + fill("<tr>"),
    "attributes": "<a " + " ".join(f"a{n}=1" for n in range(120_000)) + ">x",
    "one-attribute": "<a title='" + fill("x "),
    "comment": fill("<!--"),
    "comments": fill("<!---->"),
    "open-tags": fill("<"),
    "cdata": fill("<![CDATA["),
    "processing": fill("<?x "),
    "entities": fill("&amp;"),
    "unknown-entities": fill("&nosuch"),
    "billion-laughs": "<!DOCTYPE html [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{('&' + chr(97 + n) + ';') * 10}'>" for n in range(12))
    + "]><p>&m;</p>",
    "outside": "<!DOCTYPE html [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><p>&x;</p>",
    "spaces": fill(" "),
    "lines": "<pre>" + fill("\n"),
    "scripts": fill("<script>"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_made_to_do_harm_takes_little_time_and_gives_little(name: str) -> None:
    html = HOSTILE[name]
    begun = time.process_time()
    try:
        page = read_page(html)
    except TooDeep:
        assert name in {"depth", "formatting", "misnested", "links"}
    else:
        assert len(page.title) + len(page.text) <= len(html)
        assert "root:" not in page.text
    assert time.process_time() - begun < MOST_SECONDS


TAGS = "p div b main article title pre br table tr td li nav svg script style header select"
tags = st.sampled_from(TAGS.split())
pieces = st.one_of(
    tags.map(lambda tag: f"<{tag}>"),
    tags.map(lambda tag: f"</{tag}>"),
    tags.map(lambda tag: f"<{tag} hidden/>"),
    st.text(max_size=5),
    st.sampled_from(["&amp;", "&#0;", "<!--", "-->", "<![CDATA[", "<", " ", "\n"]),
)


@given(st.lists(pieces, max_size=40).map("".join))
def test_any_page_gives_the_same_text_however_it_is_cut(html: str) -> None:
    data = html.encode("utf-8", "replace")

    def rows(size: int) -> list[Row | BadRow]:
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        options = ReadOptions()
        return list(read_rows(chunks, format="html", source="in", first_index=0, options=options))

    whole = rows(1 << 20)
    assert rows(3) == whole
    for row in whole:
        if isinstance(row, Row):
            assert row.text == row.text.strip()
            assert "\n\n\n" not in row.text
            assert "\0" not in row.text


@given(st.binary(max_size=300))
def test_any_bytes_give_a_row_or_a_bad_row(read: Read, data: bytes) -> None:
    assert len(read(data, "html")) == (len(data) > 0)
