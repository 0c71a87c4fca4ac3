"""The text of a web page: its title and its paragraphs, without what only surrounds them.

The page is read as a stream of tags by libxml2 (lxml), and no tree is made of it: a tree may be hundreds of times as
large as a page that was made for that. Entities expand to single characters, and nothing is ever fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lxml import etree

from jobs.intake.encodings import decode_page
from jobs.intake.lines import LongLine
from jobs.intake.objects import ReadOptions, text_failure, too_large
from jobs.intake.pieces import wrapped
from jobs.intake.plain import document_name, whole
from jobs.rows import BadRow, Row, RowFailure

#: A page's bytes may be so many times as many as its text's: most are tags, scripts and styles.
MARKUP_FACTOR = 4

#: Levels of elements in one another. Browsers end at 512; libxml2 takes time by depth for each end tag.
MAX_DEPTH = 1000

#: Bytes given to the parser at once: after so many it may be stopped.
_PIECE = 64 << 10

#: Characters that text has hardly any of: one in so many, and it is none.
_MOST_JUNK = 50
_JUNK = re.compile("[\0-\x08\x0e-\x1f\x7f\N{REPLACEMENT CHARACTER}]")
#: Left out of the text: control characters, and where a word may be hyphenated.
_INVISIBLE = re.compile("[\0-\x08\x0e-\x1f\x7f\N{SOFT HYPHEN}]")

_MANY_LINES = re.compile(r"\n{3,}")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DROPPED = _names(
    "aside audio button canvas datalist dialog embed footer iframe input map nav noembed noframes noscript object "
    "select script style svg template textarea video"
)
_DROPPED_ROLES = _names(
    "alertdialog banner complementary contentinfo dialog menu menubar navigation search toolbar"
)
_NEVER_DROPPED = _names("html body main")
_PARAGRAPHS = _names(
    "address article blockquote body details dl fieldset figure form h1 h2 h3 h4 h5 h6 header hr main ol p pre section "
    "table ul"
)
_LINES = _names("caption center dd div dt figcaption legend li optgroup option summary tr")
_CELLS = _names("td th")
_NOT_SHOWN = re.compile(r"display\s*:\s*none", re.IGNORECASE)

# What an element and all elements inside it are.
_DROP, _MAIN, _ARTICLE, _VERBATIM, _TITLE = 1, 2, 4, 8, 16


class TooDeep(ValueError):
    """Elements lie in one another without end."""


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to read on a page."""

    title: str  #: on one line; empty if there is none
    text: str  #: paragraphs with an empty line between them


def read_page(html: str) -> Page:
    """Title and text.

    The text is that of ``<main>`` where the page has one, else that of its ``<article>`` elements where they hold at
    least half of all text, else of the whole. Scripts, styles, navigation, sidebars, footers, form controls, embedded
    things and what is hidden are left out. Outside of ``<pre>``, runs of white space are one space; a block begins a
    new line, a paragraph, heading, list or table a new paragraph.

    Raises:
        TooDeep: elements are nested deeper than :data:`MAX_DEPTH`.
    """
    reader = _Reader()
    parser = etree.HTMLParser(target=reader, encoding="utf-8", huge_tree=True)
    data = html.encode("utf-8", "replace")
    for at in range(0, len(data), _PIECE):
        parser.feed(data[at : at + _PIECE])
    if data:
        parser.close()
    return reader.page()


def page_rows(
    pieces: Iterable[bytes], *, source: str, first_index: int, options: ReadOptions
) -> Iterator[Row | BadRow]:
    """The page as one row, named as a document is: its title, then its text. None if the source is empty.

    Title and text are also fields that can be carried along.
    """
    data = whole(pieces, options.max_row_bytes * MARKUP_FACTOR)
    if data == b"":
        return
    page, name = _page(data, options), document_name(source)
    if isinstance(page, Page):
        known = {"title": page.title, options.text_field: page.text}
        fields = {field: text for field, text in known.items() if text and field in options.keep}
        yield Row(first_index, page.text, name, fields, source, 1)
    else:
        yield BadRow(first_index, page, source, 1, name)


def _page(data: bytes | LongLine, options: ReadOptions) -> Page | RowFailure:
    """What a page holds, its title joined to its text unless that begins with it."""
    if isinstance(data, LongLine):
        return too_large(data.size, options.max_row_bytes * MARKUP_FACTOR, ", tags and all")
    wrapping = wrapped(data)
    if wrapping is not None:
        return RowFailure("invalid_html", f"the page {wrapping}")
    html = decode_page(data)
    junk = len(html) - len(_JUNK.sub("", html))
    if junk * _MOST_JUNK > len(html):
        reason = f"{junk} of {len(html)} characters cannot be read or are control characters"
        return RowFailure("invalid_html", f"the page is no text: {reason}")
    try:
        page = read_page(html)
    except TooDeep as error:
        return RowFailure("invalid_html", str(error))
    if not page.text:
        return RowFailure("empty_text", "the page has no text")
    if page.title and page.text.partition("\n")[0] != page.title:
        page = Page(page.title, f"{page.title}\n\n{page.text}")
    return text_failure(page.text, options) or page


class _Writer:
    """Text as it comes, with white space made even. How it was cut into pieces makes no difference."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._lines = 0  #: line ends that are due before what comes next
        self._space = False  #: whether a space is
        self.size = 0  #: characters so far

    def write(self, text: str) -> None:
        text = _INVISIBLE.sub("", text)
        self._space = self._space or text[:1].isspace()
        words = text.split()
        if words:
            self._append(" ".join(words), " " if self._space else "")
            self._space = text[-1:].isspace()

    def write_verbatim(self, text: str) -> None:
        text = _INVISIBLE.sub("", text).replace("\r", "")
        if text:
            self._append(text, "")
            self._space = False

    def _append(self, text: str, separator: str) -> None:
        if self._parts:
            self._parts.append("\n" * self._lines or separator)
        self._parts.append(text)
        self._lines = 0
        self.size += len(text)

    def space(self) -> None:
        self._space = True

    def lines(self, count: int) -> None:
        """Begin a new line (1) or paragraph (2), unless that is due already."""
        self._lines = max(self._lines, count)

    def line_break(self) -> None:
        self._lines = min(self._lines + 1, 2)

    def text(self) -> str:
        return _MANY_LINES.sub("\n\n", "".join(self._parts)).strip()


class _Reader:
    """What lxml calls as it reads."""

    def __init__(self) -> None:
        self._open: list[int] = []  #: what the open elements are, outermost first
        self._title = _Writer()
        self._all, self._main, self._articles = _Writer(), _Writer(), _Writer()

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        above = self._open[-1] if self._open else 0
        if len(self._open) >= MAX_DEPTH:
            raise TooDeep(f"elements are nested deeper than {MAX_DEPTH} levels")
        own = _own(tag, attributes, above)
        if own == _TITLE and self._title.size:
            own = _DROP
        self._open.append(above | own)
        if tag == "br":
            for writer in self._writers(above):
                writer.line_break()
        else:
            self._separate(tag)

    def end(self, tag: str) -> None:
        self._separate(tag)
        if self._open:
            self._open.pop()

    def data(self, text: str) -> None:
        kind = self._open[-1] if self._open else 0
        for writer in self._writers(kind):
            if kind & _VERBATIM:
                writer.write_verbatim(text)
            else:
                writer.write(text)

    def close(self) -> None:
        """Called at the end."""

    def page(self) -> Page:
        chosen = self._all
        if self._main.size:
            chosen = self._main
        elif self._articles.size * 2 >= self._all.size:
            chosen = self._articles
        return Page(self._title.text(), chosen.text())

    def _separate(self, tag: str) -> None:
        kind = self._open[-1] if self._open else 0
        for writer in self._writers(kind):
            if tag in _PARAGRAPHS:
                writer.lines(2)
            elif tag in _LINES:
                writer.lines(1)
            elif tag in _CELLS:
                writer.space()

    def _writers(self, kind: int) -> Iterator[_Writer]:
        if kind & _DROP:
            return
        if kind & _TITLE:
            yield self._title
            return
        yield self._all
        if kind & _MAIN:
            yield self._main
        if kind & _ARTICLE:
            yield self._articles


def _own(tag: str, attributes: Mapping[str, str], above: int) -> int:
    """What an element is by itself."""
    if above & _DROP:
        return 0
    if tag in _NEVER_DROPPED:
        return _MAIN if tag == "main" else 0
    role = attributes.get("role", "").strip().lower()
    hidden = attributes.get("hidden")
    if (
        tag in _DROPPED
        or role in _DROPPED_ROLES
        or (tag == "header" and not above & (_MAIN | _ARTICLE))
        or (hidden is not None and hidden.lower() != "until-found")
        or attributes.get("aria-hidden", "").lower() == "true"
        or _NOT_SHOWN.search(attributes.get("style", ""))
    ):
        return _DROP
    if role == "main":
        return _MAIN
    return {"article": _ARTICLE, "pre": _VERBATIM, "title": _TITLE}.get(tag, 0)
