"""Where sentences end: for cutting long documents into pieces and for tidying what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sentencex import segment

#: A sentence that was written to its end: a mark, and quotes or brackets behind it.
_FINISHED = re.compile(
    "[.!?\N{HORIZONTAL ELLIPSIS}\N{IDEOGRAPHIC FULL STOP}\uff01\uff1f\u0964][\"')\\]\u00bb\u201d\u2019\u300d\u300f]*$"
)
_BULLET = re.compile(r"^\s*(?:[*\N{BULLET}\N{EN DASH}-]|\d{1,2}[.)])\s+")
#: White space that is neither a plain space nor a line break.
_ODD_SPACE = re.compile(r"[^\S \n]")
#: Characters that are looked at together: some texts take time by the square of their length.
_STRETCH = re.compile(r"[\s\S]{1,10000}(?!\S)|[\s\S]{1,10000}")


def split_sentences(text: str, language: str = "en") -> list[str]:
    """The text in sentences, each with the white space behind it: joined, they are the text again.

    Args:
        language: two-letter code; its abbreviations and marks count. English ones serve for most others too.
    """
    pieces: list[str] = []
    start = 0
    for stretch in _STRETCH.findall(text):
        # Odd white space makes the segmenter of version 1.0.32 panic. Lengths stay, so that places are the same.
        for piece in segment(language, _ODD_SPACE.sub(" ", stretch)):
            end = start + len(piece)
            if pieces and not piece.strip():
                pieces[-1] += text[start:end]
            else:
                pieces.append(text[start:end])
            start = end
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
