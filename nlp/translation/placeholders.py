"""What a translation must leave alone: placeholders, addresses, markup, code.

Such a *span* is never shown to a model as it is. Tags at the ends of a segment are cut off; for other spans a marker
stands that models copy (``%1``, as in the catalogues of messages that translation models were trained on). Where a
translation does not hold every marker once and in order, the text between the spans is translated by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Several lines that belong together and hold no prose: fenced code, scripts, preformatted text.
_BLOCKS = r"""
    ^[ ]{0,3}(?P<fence>```+|~~~+)[^\n]*\n (?:.*\n)*? [ ]{0,3}(?P=fence)[`~]*[ \t]*$
  | <(?P<tag>script|style|pre|code)\b[^>]*> [\s\S]*? </(?P=tag)\s*>
  | <!--[\s\S]*?-->
"""
#: One line at most each; the first that fits wins.
_SPANS = r"""
    (?P<ticks>`+)(?!`) [^\n]+? (?<!`)(?P=ticks)(?!`)       # Markdown code
  | !?\[ (?= [^\[\]\n]{0,500} \]\( [^()\s]{0,2000} )        # Markdown link: what stands around its words
  | \]\( [^()\s]{1,2000} (?:[ ]"[^"\n]{0,200}")? \)
  | </?[A-Za-z][^<>\n]{0,2000}>                             # HTML and XML
  | &(?:[A-Za-z][A-Za-z0-9]{1,31}|\#[0-9]{1,7}|\#x[0-9A-Fa-f]{1,6});
  | (?:https?|ftps?|file|s3|git|ssh)://[^\s<>"'`()\[\]{}]*[^\s<>"'`()\[\]{}.,;:!?]   # addresses
  | (?:mailto|tel):[^\s<>"'`()]*[^\s<>"'`().,;:!?]
  | (?<![\w.])www\.[\w-]+(?:\.[\w-]+)+(?:/[^\s<>"'`()]*[^\s<>"'`().,;:!?])?
  | (?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+
  | \{\{[^{}\n]{0,200}\}\} | \{%[^{}\n]{0,200}%\}           # templates
  | \$\{[^{}\n]{1,200}\} | \#\{[^{}\n]{1,200}\} | \{[^{}\n]{0,200}\}
  | \$[A-Za-z_]\w* | (?<!\w)%[A-Z_][A-Z0-9_]+%(?!\w)        # variables
  | %\([^()\s]{1,100}\)[-+0\#]*[0-9]*(?:\.[0-9]+)?[A-Za-z]  # printf
  | %(?:[0-9]+\$)?[-+0\#]*[0-9]*(?:\.[0-9]+)?(?:hh?|ll?|[Lqjzt])?[@diouxXeEfFgGcrsa](?![A-Za-z])
  | (?<![\w/.<~])(?:(?:~|\.{1,2})/[\w.+-]+|/[\w.+-]+/[\w.+-]+)(?:/[\w.+-]+)*/?        # paths
  | (?<!\w)[A-Za-z]:\\[\w.+-]+(?:\\[\w.+-]+)*
"""
_BLOCK = re.compile(_BLOCKS, re.VERBOSE | re.MULTILINE | re.IGNORECASE)
_SPAN = re.compile(_SPANS, re.VERBOSE)
#: What every span holds one of: looked for first, as most texts have none.
_SPAN_HINT = re.compile(r"[`\[\]<&:@{$%/\\]|www\.")
#: Likewise for blocks.
_BLOCK_HINT = re.compile(r"<|```|~~~")
#: Tags with white space around them.
_TAGS = re.compile(r"(?:\s|</?[A-Za-z][^<>\n]{0,2000}>)+")

#: Most spans inside one segment that markers may stand for: their numbers have one digit.
_MOST = 9
#: Markers as written, and as models write them back; the first kind that the text does not hold itself is used.
_MARKERS = (
    ("%{}", re.compile(r"%\s?([1-9])(?![0-9])")),
    ("#{}", re.compile(r"#\s?([1-9])(?![0-9])")),
)


def blocks(text: str) -> list[tuple[int, int]]:
    """Where blocks stand that are no prose, as start and end."""
    if not _BLOCK_HINT.search(text):
        return []
    return [match.span() for match in _BLOCK.finditer(text)]


def spans(text: str) -> list[tuple[int, int]]:
    """Where spans stand in a line, as start and end; they do not overlap."""
    if not _SPAN_HINT.search(text):
        return []
    return [match.span() for match in _SPAN.finditer(text) if match.end() > match.start()]


def words(text: str) -> str:
    """A document without blocks and spans."""
    return _bare(_BLOCK.sub(" ", text))


def has_words(text: str) -> bool:
    """Whether there is anything to translate in a line: a letter outside of spans."""
    return any(map(str.isalpha, _bare(text)))


@dataclass(frozen=True)
class Masked:
    """A text with markers where its spans stood."""

    text: str
    hidden: tuple[str, ...]  #: the spans in their order
    _kind: int = 0

    def restore(self, translation: str) -> str | None:
        """The translation with the spans back in place; None if a marker is lost, doubled or out of order."""
        marker = _MARKERS[self._kind][1]
        numbers = [int(match[1]) for match in marker.finditer(translation)]
        if numbers != list(range(1, len(self.hidden) + 1)):
            return None
        return marker.sub(lambda match: self.hidden[int(match[1]) - 1], translation)


def mask(text: str) -> Masked | None:
    """Put markers in the place of spans; None where that cannot be done, or there are none."""
    places = spans(text)
    if not 0 < len(places) <= _MOST:
        return None
    bare = _bare(text)
    kind = next((n for n, (_, pattern) in enumerate(_MARKERS) if not pattern.search(bare)), None)
    if kind is None:
        return None
    parts: list[str] = []
    end = 0
    for number, (start, stop) in enumerate(places, start=1):
        parts += [text[end:start], _MARKERS[kind][0].format(number)]
        end = stop
    masked = "".join([*parts, text[end:]])
    # A digit right behind a marker would make another number of it.
    if len(_MARKERS[kind][1].findall(masked)) != len(places):
        return None
    return Masked(masked, tuple(text[start:stop] for start, stop in places), kind)


def trim(text: str) -> tuple[str, str, str]:
    """What stands before, in, and after the part of a text that a model shall see.

    White space and tags are cut off at both ends, other spans are not: a sentence needs its ``{name}``, even where it
    begins with it. Joined, the three are the text again.
    """
    start, stop = 0, len(text)
    for match in _TAGS.finditer(text):
        if match.start() == 0:
            start = match.end()
        if match.end() == len(text) and match.start() >= start:
            stop = match.start()
    return text[:start], text[start:stop], text[stop:]


def pieces(text: str) -> Sequence[tuple[str, bool]]:
    """A text cut at its spans: each piece, and whether it is one."""
    found: list[tuple[str, bool]] = []
    end = 0
    for start, stop in spans(text):
        found += [(text[end:start], False), (text[start:stop], True)]
        end = stop
    return [piece for piece in [*found, (text[end:], False)] if piece[0]]


def _bare(text: str) -> str:
    """A text without its spans."""
    return _SPAN.sub(" ", text) if _SPAN_HINT.search(text) else text
