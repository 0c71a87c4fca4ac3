"""Where a submission wants its output too: results and errors, in its format, below its own prefix.

They are copies. Results lie in the store whatever becomes of them, so a target that cannot be written to costs a
warning and never the job.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import structlog

from jobs.errors import Unavailable
from jobs.kinds import KindRegistry
from jobs.names import JobNames
from jobs.outtake import CONTENT_TYPES, ErrorTable, ResultTable, Table, convert
from jobs.record import JobRecord
from jobs.s3uri import S3Pattern
from jobs.spec import OutputSpec
from storage.objects import ObjectMissing, ObjectStore
from storage.streams import readable
from storage.submission import SubmittedJob
from workers.role import Role

log = structlog.get_logger(__name__)

#: Written last: who finds it finds both others whole, and of the same end of the job.
SUCCESS = "_SUCCESS"

#: Seconds before each further attempt at a target that does not take what is written.
_PAUSES = (0.5, 2.0)


def write_output(
    store: ObjectStore,
    kinds: KindRegistry,
    names: JobNames,
    record: JobRecord,
    *,
    outputs: Mapping[str, str],
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
        role: that this process must still have.

    Raises:
        Replaced: somebody else does it by now.
        Stopping: somebody else should go on.
        Unavailable: the store as a whole is away.
    """
    if record.output is None:
        return []
    wanted = OutputSpec.model_validate(record.output)
    job = SubmittedJob.from_json(store.get(names.spec))
    kind = kinds.get(record.kind)  # None where its package is no longer installed
    results = ResultTable(
        kind.output_columns if kind is not None else {}, carried=bool(job.spec.input.carry)
    )
    target = _Target(store, wanted, record.id, role)
    reason = ""
    for pause in (*_PAUSES, None):
        try:
            target.write(outputs, {"results": results, "errors": ErrorTable()})
        except ObjectMissing:
            reason = "there is no such bucket"
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


class _Target:
    """The folder of one job."""

    def __init__(self, store: ObjectStore, wanted: OutputSpec, job_id: str, role: Role) -> None:
        place = S3Pattern.parse(wanted.uri)
        self._own = store
        self._bucket = store.in_bucket(place.bucket)
        self._folder = f"{place.pattern}{job_id}/"
        self._format = wanted.format
        self._role = role
        self.uri = f"{wanted.uri}{job_id}/"

    def write(self, outputs: Mapping[str, str], tables: Mapping[str, Table]) -> None:
        # What an earlier generation left is not to be taken for this one's while it is replaced.
        self._bucket.delete(self._folder + SUCCESS)
        for section, table in tables.items():
            chunks = convert(self._own.stream(outputs[section]), self._format, table)
            self._bucket.put_stream(
                f"{self._folder}{section}.{self._format}",
                readable(self._checked(chunks)),
                CONTENT_TYPES[self._format],
            )
        self._bucket.put(self._folder + SUCCESS, b"")

    def _checked(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._role.check()
            yield chunk
