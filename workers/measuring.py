"""Measuring what a job gave: its results as they were written, beside the rows that they are of.

Read from what is committed, so that it is the same whoever computed a row, how often, and however often a finalizer
has to start over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import orjson
import structlog

from jobs.kinds import Kind
from jobs.names import JobNames
from jobs.params import parse_params
from jobs.rows import CarriedRow, Row, decode_shard_line
from storage import parts
from storage.objects import ObjectMissing, ObjectStore
from storage.parts import DamagedPart
from storage.restore import planned_ranges
from storage.submission import SubmittedJob
from workers.retrying import Line, indexed, merged, shard_lines
from workers.role import Role

log = structlog.get_logger(__name__)

#: Results between two looks at whether this process is still the one to do it.
_BETWEEN_CHECKS = 500


def measure(
    store: ObjectStore, names: JobNames, kind: Kind, results: str, *, count: int, role: Role
) -> dict[str, Any] | None:
    """The evaluation of a job's results; None where it asked for none.

    Args:
        store: where they lie.
        names: of the job's newest generation.
        kind: of the job.
        results: name of the object that holds them.
        count: how many there are.
        role: that this process must still have.

    Raises:
        Replaced: somebody else does it by now.
        Stopping: somebody else should go on.
        Unavailable: the store is away.
    """
    if type(kind).evaluator is Kind.evaluator:
        return None
    spec = SubmittedJob.from_json(store.get(names.spec)).spec
    evaluator = kind.evaluator(parse_params(kind, spec.params))
    if evaluator is None:
        return None
    every = 1 if evaluator.most is None else max(1, -(-count // evaluator.most))
    chosen = islice(indexed(store.stream(results)), 0, None, every)
    try:
        for row, output in _beside(chosen, planned_lines(store, names), role):
            evaluator.add(row, output)
        evaluation = evaluator.evaluation()
    except (ObjectMissing, DamagedPart) as error:
        # The results are whole all the same, and are not to wait for what will not come back.
        log.warning("not measured", job=names.job_id, reason=str(error))
        evaluation = {"metrics": {}, "problem": "The job's rows can no longer be read."}
    return evaluation if every == 1 else {**evaluation, "one_in": every}


def short(evaluation: dict[str, Any]) -> dict[str, Any]:
    """An evaluation as the job shows it: without tables, which may be long, but with how groups compare."""
    kept = {name: value for name, value in evaluation.items() if name != "details"}
    groups = (evaluation.get("details") or {}).get("groups")
    if groups:
        kept["groups"] = {name: value for name, value in groups.items() if name != "groups"}
    return kept


def planned_lines(store: ObjectStore, names: JobNames) -> Iterator[bytes]:
    """Every row that was planned, in order. A retry has shards of its own only for what it computes again."""
    if names.generation == 1:
        return (
            line
            for rows in planned_ranges(store, names)
            for line in parts.shard_lines(store.get(names.shard(rows)))
        )
    return merged(
        *(
            shard_lines(store, replace(names, generation=generation))
            for generation in range(1, names.generation + 1)
        )
    )


def _beside(
    results: Iterator[Line], rows: Iterator[bytes], role: Role
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Each result's output with its row; both go by index, upwards."""
    for number, (index, line) in enumerate(results):
        if number % _BETWEEN_CHECKS == 0:
            role.check()
        for candidate in rows:
            row = decode_shard_line(candidate)
            if row.index == index:
                break
        else:
            raise DamagedPart(f"no shard holds row {index}")
        if isinstance(row, CarriedRow):
            row = row.row
        if isinstance(row, Row):
            yield row, orjson.loads(line)["output"]
