"""What the data of a training is like: checked before hours are spent on it, and told with the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.errors import JobFailure
from nlp.training.rows import TICK_ROWS, BadRows, RowFile, Rows
from nlp.training.split import Part
from nlp.training.task import Task
from nlp.translation.detection import detect

#: Rows below which there is nothing to learn from.
_LEAST = 2
#: Share of the rows without a label from which on the field is held to be missing.
_MOSTLY = 0.5
#: Rows, spread over all, whose language is told.
_LANGUAGE_ROWS = 200


def check_file(name: str, rows: RowFile) -> None:
    """Refuse data that cannot be trained on as a whole.

    Raises:
        JobFailure: ``missing_labels``, or ``too_few_rows``.
    """
    lacking = rows.bad.codes["missing_label"] + rows.bad.codes["missing_target"]
    total = len(rows) + rows.bad.codes.total()
    if lacking > _MOSTLY * total:
        raise JobFailure(
            "missing_labels",
            f"{lacking} of {total} rows of {name} lack what is to be learnt, such as {_first(rows.bad)}",
        )
    if not len(rows):
        such = f", such as {_first(rows.bad)}" if rows.bad.first else ""
        raise JobFailure(
            "too_few_rows", f"None of the {total} rows of {name} can be trained on{such}"
        )


def check_parts(parts: Mapping[Part, Rows], wanted: Mapping[Part, bool]) -> None:
    """Refuse a split that leaves a part without rows.

    Raises:
        JobFailure: ``too_few_rows``.
    """
    least: dict[Part, int] = {"training": _LEAST, "validation": 1, "test": 1}
    for part, count in least.items():
        if wanted[part] and len(parts[part]) < count:
            sizes = ", ".join(f"{len(rows)} for {name}" for name, rows in parts.items())
            raise JobFailure(
                "too_few_rows",
                f"Expected at least {count} rows for {part}, found {sizes}: give more rows, or validation and "
                "test files of their own, or set them to 0. Rows that are alike stay together.",
            )


def lengths_of(
    task: Task, rows: Rows, tick: Callable[[int], None]
) -> tuple[npt.NDArray[np.int32], int]:
    """What each row costs in tokens, and how many rows are cut."""
    lengths = np.empty(len(rows), np.int32)
    cut = 0
    for place, row in enumerate(rows):
        if place % TICK_ROWS == 0:
            tick(TICK_ROWS)
        example = task.example(row)
        lengths[place] = example.tokens
        cut += example.cut
    return lengths, cut


def data_report(
    files: Mapping[Part, RowFile],
    parts: Mapping[Part, Rows],
    task: Task,
    lengths: npt.NDArray[np.int32],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The data in numbers, as JSON.

    Args:
        files: by the part that each was given for.
        lengths: of the rows to train on, in tokens.
        facts: more of them.
    """
    return {
        "files": {
            name: {
                "rows": len(rows),
                "bad_rows": rows.bad.codes.total(),
                "bad_by_code": dict(rows.bad.codes.most_common()),
                "first_bad": rows.bad.first,
            }
            for name, rows in files.items()
        },
        "languages": _languages(parts["training"]),
        "parts": {name: {"rows": len(rows), **task.survey(rows)} for name, rows in parts.items()},
        "tokens": {
            "total": int(lengths.sum(dtype=np.int64)),
            "mean": round(float(lengths.mean()), 1),
            "longest": int(lengths.max()),
        },
        **facts,
    }


def _languages(rows: Rows) -> dict[str, float]:
    """Shares of the languages of some of the texts, the most frequent first; ``other`` where none can be told."""
    step = -(-len(rows) // _LANGUAGE_ROWS)
    found = Counter(detect(row.text, None).tag or "other" for row in rows[::step])
    return {tag: round(count / found.total(), 3) for tag, count in found.most_common()}


def _first(bad: BadRows) -> str:
    one = bad.first[0]
    where = f"{one['source']} line {one['line']}" if one["source"] else f"row {one['index']}"
    return f"{where}: {one['message']}"
