"""The rows of a training: read, looked through for likeness, and put into parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.training import INPUT, TrainingRun
from nlp.training.fields import check_row
from nlp.training.likeness import Likeness
from nlp.training.params import TrainingParams
from nlp.training.report import check_file, check_parts
from nlp.training.rows import TICK_ROWS, RowFile, Rows
from nlp.training.split import PARTS, Part, Shares, split

#: Fraction of the input that validation and test get where nothing is said, ...
_SHARE = 0.1
#: ... at most so many rows.
_MOST = 2000


@dataclass(frozen=True)
class Data:
    """Rows by part, and what there is to say of them."""

    files: Mapping[Part, RowFile]
    parts: Mapping[Part, Rows]
    facts: Mapping[str, Any]


def read_data(run: TrainingRun, params: TrainingParams, tick: Callable[[int], None]) -> Data:
    """Read all files once, and put their rows into parts."""
    names: dict[Part, str] = {"training": INPUT, "validation": "validation", "test": "test"}
    files: dict[Part, RowFile] = {}
    for part, name in names.items():
        if name in run.data:
            files[part] = RowFile(run.data[name], lambda row: check_row(row, params), tick)
            check_file(name, files[part])
    ordered = list(files.values())
    everything = Rows(ordered, np.arange(sum(map(len, ordered))))
    likeness = Likeness(len(everything), run.scratch)
    for number, row in enumerate(everything):
        if number % TICK_ROWS == 0:
            tick(TICK_ROWS)
        likeness.add(row.text)
    groups = likeness.groups()
    given = np.repeat([PARTS.index(part) for part in files], list(map(len, ordered)))
    shares = Shares(
        validation=_share(params.validation), test=_share(params.test), most=_most(params)
    )
    found = split(groups, likeness.exact, given, shares, params.seed)
    parts = {part: Rows(ordered, places) for part, places in found.parts.items()}
    check_parts(
        parts,
        {"training": True, "validation": params.validation != 0, "test": params.test != 0},
    )
    different = likeness.different()
    facts = {
        "duplicates": {
            "same": len(everything) - different,
            "alike": different - len(np.unique(groups)),
        },
        "left_out": found.left_out,
    }
    return Data(files, parts, facts)


def _share(said: float | str | None) -> float:
    if isinstance(said, str):
        return 0.0
    return _SHARE if said is None else said


def _most(params: TrainingParams) -> tuple[int | None, int | None]:
    """Most rows of validation and test: bounded where the user names no fraction."""
    return (
        _MOST if params.validation is None else None,
        _MOST if params.test is None else None,
    )
