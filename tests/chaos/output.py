"""What must hold of a job's output, checked line by line in bounded memory."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.rows import Expected


class OutputWrong(AssertionError):
    """The output is not what it must be."""


@dataclass(frozen=True)
class Output:
    """The results and errors of one job, as files."""

    results: Path
    errors: Path

    def digests(self) -> tuple[str, str]:
        """SHA-256 of both."""
        return _digest(self.results), _digest(self.errors)


@dataclass(frozen=True)
class Counted:
    """How many rows an output holds."""

    results: int
    errors: int


def check(output: Output, total: int, expected: Callable[[int], Expected]) -> Counted:
    """Check that every index from 0 is once in results or errors, in order, and says what it must.

    Raises:
        OutputWrong: at the first line that does not.
    """
    results, errors = _lines(output.results), _lines(output.errors)
    result, error = next(results, None), next(errors, None)
    counts = {"results": 0, "errors": 0}
    for index in range(total):
        wanted = expected(index)
        place = "results" if wanted.code is None else "errors"
        row = result if wanted.code is None else error
        if row is None:
            raise OutputWrong(f"row {index} is missing: the {place} end before it")
        if row["index"] != index:
            raise OutputWrong(f"expected row {index} in the {place}, found row {row['index']}")
        if not wanted.matches(row):
            raise OutputWrong(f"row {index}: expected {wanted}, found {row}")
        counts[place] += 1
        if wanted.code is None:
            result = next(results, None)
        else:
            error = next(errors, None)
    for place, row in (("results", result), ("errors", error)):
        if row is not None:
            raise OutputWrong(f"the {place} go on after the last row with row {row['index']}")
    return Counted(**counts)


def compare(one: Output, other: Output) -> None:
    """Check that two outputs are the same byte for byte.

    Raises:
        OutputWrong: they are not; names the first line that differs.
    """
    for first, second in ((one.results, other.results), (one.errors, other.errors)):
        with first.open("rb") as left, second.open("rb") as right:
            for number, (a, b) in enumerate(itertools.zip_longest(left, right), start=1):
                if a != b:
                    raise OutputWrong(f"{first.name} line {number}: {a!r} is not {b!r}")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
