"""Where sentences end: for cutting long documents into pieces and for tidying what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

#: Marks that end a sentence; the full-width ones end it without white space behind them.
_MARKS, _WIDE_MARKS = ".!?\N{HORIZONTAL ELLIPSIS}", "\N{IDEOGRAPHIC FULL STOP}\uff01\uff1f"
#: Quotes and brackets that may stand between the mark and the white space, in a character class.
_CLOSERS = "\"')\\]\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}\u201d\u2019\u300d\u300f"
_BULLETS = "*\N{BULLET}\N{EN DASH}-"
#: A possible end: marks and white space, full-width marks, an empty line, or a line before a bullet.
_END = re.compile(
    rf"[{_MARKS}]+[{_CLOSERS}]*\s+|[{_WIDE_MARKS}]+[{_CLOSERS}]*\s*|\n[ \t]*\n\s*|\n(?=\s*[{_BULLETS}]\s)"
)
#: Words whose full stop ends no sentence.
_ABBREVIATIONS = frozenset({
    "al", "approx", "bspw", "bzw", "ca", "cf", "co", "corp", "d.h", "dept", "dr", "e.g", "etc", "fig",
    "figs", "ggf", "i.e", "inc", "inkl", "jr", "ltd", "m", "mme", "mr", "mrs", "ms", "no", "nos", "nr",
    "p.ex", "prof", "resp", "sr", "st", "usw", "vol", "vs", "z.b",
})  # fmt: skip
_FINISHED = re.compile(rf"[{_MARKS}{_WIDE_MARKS}][{_CLOSERS}]*$")
_BULLET = re.compile(rf"^\s*(?:[{_BULLETS}]|\d{{1,2}}[.)])\s+")


def split_sentences(text: str) -> list[str]:
    """The text in sentences, each with the white space behind it: joined, they are the text again."""
    pieces: list[str] = []
    start = 0
    for match in _END.finditer(text):
        if _is_end(text, start, match):
            pieces.append(text[start : match.end()])
            start = match.end()
    if start < len(text):
        pieces.append(text[start:])
    return pieces


def first_sentence(text: str) -> str:
    """The first sentence, without the white space around it."""
    sentences = split_sentences(text.strip())
    return sentences[0].strip() if sentences else ""


def drop_half_sentence(text: str) -> str:
    """Text that was cut off, back to the end of its last whole sentence; unchanged when it has none."""
    sentences = split_sentences(text.strip())
    if sentences and not _FINISHED.search(sentences[-1].strip()):
        whole = "".join(sentences[:-1]).strip()
        return whole or text.strip()
    return text.strip()


def bullet_points(text: str) -> str:
    """Each line, or where there is only one each sentence, as a line that begins with ``- ``."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        lines = split_sentences(text)
    points = [_BULLET.sub("", line).strip() for line in lines]
    return "\n".join(f"- {point}" for point in points if point)


def split_to_fit(
    text: str, limit: int, count: Callable[[Sequence[str]], Sequence[int]]
) -> list[str]:
    """Pieces of at most ``limit`` tokens and like size, cut at sentence ends where possible.

    A sentence longer than that is cut between words, and a word between characters. Joined, the pieces are
    the text again.

    Args:
        count: tokens of each of several texts.
    """
    atoms = _atoms(split_sentences(text), limit, count)
    total = sum(size for _, size in atoms)
    pieces = max(1, -(-total // max(1, limit)))
    target = -(-total // pieces)
    chunks: list[str] = []
    held: list[str] = []
    size = 0
    for atom, tokens in atoms:
        if held and (size + tokens > limit or size + tokens // 2 >= target):
            chunks.append("".join(held))
            held, size = [], 0
        held.append(atom)
        size += tokens
    if held:
        chunks.append("".join(held))
    return chunks


def _atoms(
    parts: list[str], limit: int, count: Callable[[Sequence[str]], Sequence[int]]
) -> list[tuple[str, int]]:
    """Parts with their sizes; those over the limit are cut further."""
    atoms: list[tuple[str, int]] = []
    for part, size in zip(parts, count(parts), strict=True):
        if size <= limit or len(part) < 2:
            atoms.append((part, size))
            continue
        words = re.findall(r"\S+\s*|\s+", part)
        if len(words) > 1:
            middle = len(words) // 2
            halves = ["".join(words[:middle]), "".join(words[middle:])]
        else:
            halves = [part[: len(part) // 2], part[len(part) // 2 :]]
        atoms += _atoms(halves, limit, count)
    return atoms


def _is_end(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match[0].strip()
    if not mark or mark[0] in _WIDE_MARKS:
        return True
    following = text[match.end() : match.end() + 1]
    if following.islower():
        return False
    words = text[start : match.start()].split()
    last = words[-1].lstrip("(\"'[").lower() if words else ""
    is_initial = len(last) == 1 and last.isalpha()
    return mark != "." or (last not in _ABBREVIATIONS and not is_initial)
