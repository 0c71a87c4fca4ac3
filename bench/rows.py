"""Input rows, made up: the same on every machine and at every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import orjson

_VOCABULARY = (
    "the of and to in is that for it with as was on are by this be from or an which you at not have has data "
    "model result table service report number system process value request account document language network"
)

#: Words of a text, of about 100 characters.
_TEXT_WORDS = 20
_LINES_AT_ONCE = 10_000

_WORDS = _VOCABULARY.split()


def sentence(chance: random.Random) -> str:
    """A text as long as a sentence."""
    return " ".join(chance.choices(_WORDS, k=_TEXT_WORDS))


def write_texts(path: Path, count: int) -> None:
    """Write rows whose texts are as long as a sentence."""
    chance = random.Random(count)  # noqa: S311  (texts, not secrets)
    with path.open("wb") as file:
        for index in range(count):
            row = {"custom_id": f"row-{index}", "text": sentence(chance)}
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def tiny_rows(count: int) -> Iterator[bytes]:
    """Rows as small as can be, as JSON lines in pieces, made while they are read."""
    for start in range(0, count, _LINES_AT_ONCE):
        stop = min(start + _LINES_AT_ONCE, count)
        yield b"".join(b'{"text":"%d"}\n' % index for index in range(start, stop))
