"""Where a submission wants its output too: results and errors, in its format, below its own prefix.

They are copies. Results lie in the store whatever becomes of them, so a target that cannot be written to costs a
warning and never the job.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, Protocol

import structlog

from jobs.editions import SUCCESS, Edition, NotOurs, Part, Turn, errors_name, part_name
from jobs.errors import Unavailable
from jobs.kinds import KindRegistry
from jobs.names import JobNames
from jobs.origin import Origin
from jobs.outtake import (
    CONTENT_TYPES,
    Cut,
    ErrorTable,
    Piece,
    ResultTable,
    Table,
    convert,
    cut_lines,
)
from jobs.record import JobRecord
from jobs.s3uri import S3Pattern
from jobs.schedule_names import run_moment
from jobs.spec import OutputSpec
from storage.editions import DayFolder, Superseded
from storage.objects import ObjectMissing, ObjectStore
from storage.streams import readable
from storage.submission import SubmittedJob
from workers.role import Role

log = structlog.get_logger(__name__)

#: Seconds before each further attempt at a target that does not take what is written.
_PAUSES = (0.5, 2.0)


def write_output(
    store: ObjectStore,
    kinds: KindRegistry,
    names: JobNames,
    record: JobRecord,
    *,
    outputs: Mapping[str, str],
    cut: Cut,
    role: Role,
) -> list[dict[str, Any]]:
    """Write a job's results and errors where it asked; the warnings to add to it: one where that cannot be done.

    Harmless when repeated, and when done by two at once: both write the same bytes under the same names.

    Args:
        store: the platform's own; targets are on the same server.
        kinds: for their columns.
        names: of the job.
        record: of the job, at its end.
        outputs: names of the objects that hold ``results`` and ``errors``, as JSON lines.
        cut: into parts, where they are laid out by date.
        role: that this process must still have.

    Raises:
        Replaced: somebody else does it by now.
        Stopping: somebody else should go on.
        Unavailable: the store as a whole is away.
    """
    if record.output is None:
        return []
    target = _target(store, kinds, names, record, cut=cut, role=role)
    if target is None:
        return []
    reason = ""
    for pause in (*_PAUSES, None):
        try:
            target.write(outputs)
        except Superseded as newer:
            return [_superseded(target, newer)]
        except ObjectMissing:
            reason = "there is no such bucket"
            break
        except NotOurs as error:
            reason = str(error)
            break
        except Unavailable as error:
            reason = error.detail
            if pause is None:
                break
            time.sleep(pause)
            role.check()
        else:
            return []
    # Where nothing can be written at all it is no fault of the target: then all of it waits.
    store.probe()
    log.warning("output not written", job=record.id, reason=reason)
    message = (
        f"Nothing whole lies at {target.uri}: {reason}. The results can be fetched all the same."
    )
    return [{"code": "output_not_written", "message": message, "field": "output.uri"}]


def _target(
    store: ObjectStore,
    kinds: KindRegistry,
    names: JobNames,
    record: JobRecord,
    *,
    cut: Cut,
    role: Role,
) -> _Target | None:
    """Where the output of a job goes; None: nowhere, the way it ended."""
    wanted = OutputSpec.model_validate(record.output)
    job = SubmittedJob.from_json(store.get(names.spec))
    kind = kinds.get(record.kind)  # None where its package is no longer installed
    columns = kind.output_columns if kind is not None else {}
    results = ResultTable(columns, carried=bool(job.spec.input.carry))
    if job.layout == "job":
        return _JobFolder(store, wanted, record.id, results=results, role=role)
    if record.outcome is not None:
        # What is not whole never comes among a day's data.
        return None
    turn = Turn(
        date=job.day,
        at=job.created_at if job.origin is None else run_moment(job.origin.run),
        job=job.id,
        generation=names.generation,
    )
    return _Day(store, wanted, turn, origin=job.origin, results=results, cut=cut, role=role)


def _superseded(target: _Target, newer: Superseded) -> dict[str, Any]:
    message = (
        f"{target.uri} belongs to job {newer.turn.job}, which is newer. The results can be fetched "
        "all the same."
    )
    return {"code": "output_superseded", "message": message, "field": "output.uri"}


class _Target(Protocol):
    """Where output goes to."""

    uri: str

    def write(self, outputs: Mapping[str, str]) -> None: ...


class _JobFolder:
    """The folder of one job."""

    def __init__(
        self, store: ObjectStore, wanted: OutputSpec, job_id: str, *, results: Table, role: Role
    ) -> None:
        place = S3Pattern.parse(wanted.uri)
        self._own = store
        self._bucket = store.in_bucket(place.bucket)
        self._folder = f"{place.pattern}{job_id}/"
        self._format = wanted.format
        self._tables = {"results": results, "errors": ErrorTable()}
        self._role = role
        self.uri = f"{wanted.uri}{job_id}/"

    def write(self, outputs: Mapping[str, str]) -> None:
        # What an earlier generation left is not to be taken for this one's while it is replaced.
        self._bucket.delete(self._folder + SUCCESS)
        for section, table in self._tables.items():
            chunks = convert(self._own.stream(outputs[section]), self._format, table)
            self._bucket.put_stream(
                f"{self._folder}{section}.{self._format}",
                readable(_checked(chunks, self._role)),
                CONTENT_TYPES[self._format],
            )
        # Whoever finds it finds both others whole, and of the same end of the job.
        self._bucket.put(self._folder + SUCCESS, b"")


class _Day:
    """The folder of one day, of which the job's output is an edition."""

    def __init__(
        self,
        store: ObjectStore,
        wanted: OutputSpec,
        turn: Turn,
        *,
        origin: Origin | None,
        results: Table,
        cut: Cut,
        role: Role,
    ) -> None:
        self._own = store
        self._folder = DayFolder(store, wanted.uri, turn.date)
        self._turn = turn
        self._origin = origin
        self._format = wanted.format
        self._results = results
        self._cut = cut
        self._role = role
        self.uri = self._folder.uri

    def write(self, outputs: Mapping[str, str]) -> None:
        writing = self._folder.claim(self._turn, self._cut)
        if not writing.begin():
            return
        kind = CONTENT_TYPES[self._format]
        parts = []
        pieces = cut_lines(self._own.stream(outputs["results"]), writing.cut)
        for number, piece in enumerate(pieces):
            name = part_name(number, self._turn, self._format)
            chunks = convert(piece.chunks(), self._format, self._results)
            size = writing.publish(name, readable(_checked(chunks, self._role)), kind)
            parts.append(Part(name=name, rows=piece.rows, bytes=size))
        errors = Piece.whole(self._own.stream(outputs["errors"]))
        name = errors_name(self._turn)
        content = readable(_checked(errors.chunks(), self._role))
        size = writing.publish(name, content, CONTENT_TYPES["jsonl"])
        origin = self._origin
        edition = Edition(
            turn=self._turn,
            folder=self.uri,
            format=self._format,
            schedule=None if origin is None else origin.schedule,
            run=None if origin is None else origin.run,
            parts=tuple(parts),
            errors=Part(name=name, rows=errors.rows, bytes=size),
        )
        self._role.check()
        writing.point_latest(edition)
        writing.clear(edition)
        writing.publish(SUCCESS, BytesIO(edition.to_json()), "application/json")


def _checked(chunks: Iterable[bytes], role: Role) -> Iterator[bytes]:
    for chunk in chunks:
        role.check()
        yield chunk
