"""The rows that go in, and what must come out for each: a pure function of a row's index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Rows whose text holds this are refused by the kind.
POISON = "☠"

#: Every so many-th row is one that the planner must reject, or that the kind refuses. Both are primes, so that they
#: fall everywhere in shards, and on one row together now and then.
REJECTED_EVERY, REFUSED_EVERY = 977, 101

#: What is wrong with the rejected rows, in turn, and the code of the error.
_REJECTED = (
    ("this is no JSON", "invalid_json"),
    ('{"custom_id": "bad", "text": 5}', "invalid_text"),
    ('{"custom_id": "bad"}', "missing_text"),
)


@dataclass(frozen=True)
class Expected:
    """What must be said of one row: its text as output, or the code of its error."""

    custom_id: str | None
    text: str | None = None
    code: str | None = None

    def matches(self, row: dict[str, Any]) -> bool:
        """Whether a line of the results or errors says that."""
        if self.code is not None:
            return bool(row["error"]["code"] == self.code)
        return bool(row["custom_id"] == self.custom_id and row["output"] == {"text": self.text})


def _rejected(index: int) -> tuple[str, str] | None:
    turn, rest = divmod(index + 1, REJECTED_EVERY)
    return None if rest else _REJECTED[turn % len(_REJECTED)]


def _text(index: int) -> str:
    mark = "" if (index + 1) % REFUSED_EVERY else f" {POISON}"
    return f"row {index}: {'äöü ' * (index % 4)}of the run{mark}"


def line(index: int) -> str:
    """A line of the input."""
    rejected = _rejected(index)
    if rejected is not None:
        return rejected[0]
    return json.dumps({"custom_id": f"c{index}", "text": _text(index)}, ensure_ascii=False)


def expected(index: int) -> Expected:
    """What must come out for it."""
    rejected = _rejected(index)
    if rejected is not None:
        return Expected(None, code=rejected[1])
    text = _text(index)
    if POISON in text:
        return Expected(f"c{index}", code="echo_refused")
    return Expected(f"c{index}", text=text)


def write(path: Path, count: int) -> Iterator[int]:
    """Write so many rows; gives the number written so far from time to time."""
    with path.open("w", encoding="utf-8") as file:
        for index in range(count):
            file.write(line(index) + "\n")
            if index % 50_000 == 0:
                yield index
