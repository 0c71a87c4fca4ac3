"""Finalizing: committed parts are joined in input order, the manifest is written once, the state follows it.

What is done from a job's first row on is joined while the job still runs, so that little is left to do at its end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import takewhile
from typing import Any

import orjson
import structlog

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.names import JobNames
from jobs.outtake import Cut
from jobs.ranges import TilingError
from jobs.record import JobRecord
from jobs.rows import BadRow, CarriedRow, RowFailure, error_line
from jobs.states import Status
from storage.ledger import Answer, CommittedPart
from storage.objects import ObjectMissing
from storage.parts import DamagedPart, decode_shard, open_part
from storage.quotas import count_stored
from storage.restore import planned_ranges, restore_job
from storage.streams import readable
from storage.submission import read_manifest
from storage.webhooks import DeliveryTable
from workers.checkpoints import CheckpointFolder
from workers.covering import Gap, contiguous, filled, tiled
from workers.indexing import Indexed, index_corpus
from workers.measuring import measure, short
from workers.outputs import CONTENT_TYPE, Section, UploadLost
from workers.progress import SECTIONS, Progress
from workers.retrying import Counted, Line, indexed, merged, previous_output, without
from workers.role import Replaced, Role, Stopping
from workers.runtime import Runtime
from workers.targets import write_output

log = structlog.get_logger(__name__)

#: Bytes of output after which the state is recorded, so that a killed finalizer need not start over.
SAVE_BYTES = 32 << 20

#: Seconds after which finalizing is tried again when store or ledger are away.
_PAUSE_SECONDS = 2.0

#: Time of joining parts of a job that still runs, after which other jobs have a turn, in seconds.
_GATHER_SECONDS = 2.0

_EXPIRED = RowFailure("expired", "the job's completion window passed before this row was computed")

_ENDED_BY_OUTCOME = {
    None: Status.COMPLETED,
    "cancelled": Status.CANCELLED,
    "failed": Status.FAILED,
    "expired": Status.EXPIRED,
}


class Unusable(Exception):
    """The parts that the ledger names are not what lies in the store."""


def finalize_job(runtime: Runtime, job_id: str) -> None:
    """Finalize a job. Harmless when repeated, and when done by two at once: both write the same bytes.

    Raises:
        Unavailable: the ledger is away; the sweeper sends another finalizer once this one's lease ends.
    """
    ranges = runtime.ledger.ranges
    token, begun = new_token(), time.monotonic()
    answer, state = ranges.final_begin(job_id, token)
    if answer is not Answer.OK:
        return
    record = runtime.ledger.jobs.find(job_id)
    if record is None:
        return
    progress = Progress.decode(state) if state else Progress(token)

    try:
        with _role(runtime, job_id, token, begun) as role:
            _Finalizing(runtime, record, token, progress, role).run()
    except Replaced:
        log.info("finalizer replaced", job=job_id)
    except (Unusable, UploadLost) as error:
        # What is done by the ledger's word cannot be had from the store. The store is right: whatever lies there whole
        # is kept, and the rest is computed again.
        log.warning("taken back", job=job_id, reason=str(error))
        restore_job(runtime.store, runtime.ledger, record.tenant, job_id, token)
    except Stopping:
        ranges.pause(job_id, "finalizer", token, 0, "")
    except Unavailable as error:
        log.warning("finalizing waits", job=job_id, reason=error.detail)
        ranges.pause(job_id, "finalizer", token, _PAUSE_SECONDS, error.detail)


def gather_job(runtime: Runtime, job_id: str) -> None:
    """Join what is done of a job that still runs, from its first row on. As harmless as finalizing is.

    Raises:
        Unavailable: the ledger is away.
    """
    ranges = runtime.ledger.ranges
    token, begun = new_token(), time.monotonic()
    answer, state = ranges.final_begin(job_id, token, early=True)
    record = runtime.ledger.jobs.find(job_id) if answer is Answer.OK else None
    if record is None:
        return
    progress = Progress.decode(state) if state else Progress(token)
    try:
        with _role(runtime, job_id, token, begun, early=True) as role:
            _Finalizing(runtime, record, token, progress, role, early=True).gather_early()
    except (Replaced, Stopping, Unavailable, Unusable, UploadLost) as error:
        # Whoever finalizes the job meets the same, and mends what has to be mended.
        log.info("gathering stopped", job=job_id, reason=f"{type(error).__name__}: {error}")
    ranges.pause(job_id, "finalizer", token, 0, "")
    # Where the job came to its end meanwhile, whoever was sent to finalize it was turned away.
    finalize_job(runtime, job_id)


def _role(runtime: Runtime, job_id: str, token: str, begun: float, *, early: bool = False) -> Role:
    def renew() -> Answer:
        return runtime.ledger.ranges.final_begin(job_id, token, early=early)[0]

    return Role(
        renew, seconds=runtime.settings.lease_seconds, begun=begun, draining=runtime.draining
    )


class _Finalizing:
    """One finalizer's run over one generation of a job."""

    def __init__(
        self,
        runtime: Runtime,
        record: JobRecord,
        token: str,
        progress: Progress,
        role: Role,
        *,
        early: bool = False,
    ) -> None:
        self._runtime = runtime
        self._ledger = runtime.ledger
        self._store = runtime.store
        self._kinds = runtime.kinds
        self._settings = runtime.settings
        self._record = record
        self._token = token
        self._names = JobNames(record.tenant, record.id, record.attempts)
        self._progress = progress
        self._role = role
        self._early = early
        self._unsaved = 0  # bytes uploaded since the state was recorded

    def run(self) -> None:
        try:
            manifest = read_manifest(self._store, self._names)
        except ObjectMissing:
            manifest = self._write()
        ended = JobRecord.from_json(manifest["job"])
        if ended.status is Status.COMPLETED and self._record.training is not None:
            # The model is in the registry. One that failed or was cancelled keeps them: a retry goes on from there.
            CheckpointFolder(self._store, self._names).clear()
        # What is to be told of it is in the store before it has ended.
        if self._ledger.jobs.finish(ended, DeliveryTable(self._store).open(ended)):
            self._count_outputs(manifest["outputs"])
            self._wake_schedule(ended)
            log.info(
                "ended",
                job=ended.id,
                status=ended.status.value,
                rows=ended.completed + ended.failed,
            )

    def _wake_schedule(self, ended: JobRecord) -> None:
        """Have the schedule looked at whose job has ended: others may wait for that. It would be, sooner or later."""
        schedule = None if ended.schedule is None else ended.schedule["id"]
        if schedule is None:
            return
        table = self._ledger.schedules
        revision = table.revision(ended.tenant, schedule)
        if revision is not None:
            table.enter(ended.tenant, schedule, revision)

    def _count_outputs(self, outputs: dict[str, Any]) -> None:
        """Count them against the tenant's quota, with their copies; all else is counted when the store is listed."""
        size = sum(int(output["bytes"]) for output in outputs.values())
        count_stored(self._ledger, self._names.tenant, 2 * size)

    def _write(self) -> dict[str, Any]:
        with self._sections() as sections:
            self._gather(sections)
            for section in sections.values():
                section.finish()
                self._role.check()
            manifest = self._seal({name: section.target for name, section in sections.items()})
            for section in sections.values():
                section.sweep()
        return manifest

    def _seal(self, outputs: dict[str, str]) -> dict[str, Any]:
        """Write the manifest, once; the one that stands."""
        counts = {"results": self._progress.results, "errors": self._progress.errors}
        if self._names.generation > 1:
            counts = self._merge(outputs)
        self._store.copy(outputs["results"], self._names.results)
        self._store.copy(outputs["errors"], self._names.errors)
        record = self._record
        evaluation = self._measure(outputs["results"], counts["results"])
        if evaluation is not None:
            outputs["evaluation"] = self._names.output(self._progress.token, "evaluation.json")
            self._store.put(outputs["evaluation"], orjson.dumps(evaluation), "application/json")
            self._store.copy(outputs["evaluation"], self._names.evaluation)
        told = self._index(outputs["results"], counts["errors"])
        unwritten = write_output(
            self._store,
            self._kinds,
            self._names,
            record,
            outputs=outputs,
            cut=Cut(rows=self._settings.output_part_rows, bytes=self._settings.output_part_bytes),
            role=self._role,
        )
        ended = replace(
            record,
            status=_ENDED_BY_OUTCOME[record.outcome],
            ended_at=record.now,
            completed=counts["results"],
            failed=counts["errors"],
            warnings=[*record.warnings, *unwritten, *told.warnings],
            waiting=None,
            evaluation=None if evaluation is None else short(evaluation),
            corpus=None if told.corpus is None else told.corpus.to_json(),
            estimate=told.estimate,
        )
        manifest: dict[str, Any] = {
            "format": 1,
            "job": ended.to_json(),
            "outputs": {
                section: {"object": name, "bytes": self._store.stat(name).size}
                for section, name in outputs.items()
            },
        }
        self._role.check()
        if not self._store.put_once(self._names.manifest, orjson.dumps(manifest)):
            # Somebody else's manifest stands, and names the output that counts.
            manifest = read_manifest(self._store, self._names)
        return manifest

    def _index(self, results: str, failed: int) -> Indexed:
        """What became of a corpus. Only jobs of schedules have one; the end of others waits for no further read."""
        if self._record.schedule is None:
            return Indexed()
        return index_corpus(
            self._runtime,
            self._names,
            self._record,
            results=results,
            failed=failed,
            role=self._role,
        )

    def _measure(self, results: str, count: int) -> dict[str, Any] | None:
        """How good the results of a job are that ran to its end, if it asked."""
        kind = self._kinds.get(self._record.kind)
        if kind is None or self._record.outcome is not None:
            return None
        return measure(self._store, self._names, kind, results, count=count, role=self._role)

    # --- gathering -----------------------------------------------------------------------------------

    def gather_early(self) -> None:
        """Copy what is done from the first row on into the sections.

        Raises:
            Unusable: a part is not there or is damaged.
            UploadLost: what was uploaded before is no longer there.
        """
        with self._sections() as sections:
            self._gather(sections)

    @contextmanager
    def _sections(self) -> Iterator[dict[str, Section]]:
        with ExitStack() as stack:
            yield {
                name: stack.enter_context(
                    Section(self._store, self._names, self._progress.token, name, state)
                )
                for name, state in self._progress.sections.items()
            }

    def _gather(self, sections: dict[str, Section]) -> None:
        """Copy the parts into the sections, recording from time to time how far that is.

        Raises:
            Unusable: a part is not there, is damaged, or leaves a gap.
            UploadLost: what was uploaded before is no longer there.
        """
        try:
            for done in self._done():
                if isinstance(done, CommittedPart):
                    self._take_part(done, sections)
                else:
                    self._take_gap(done, sections)
                self._role.check()
                if self._unsaved >= SAVE_BYTES:
                    self._save(sections)
        except TilingError as error:
            raise Unusable(str(error)) from error
        self._save(sections)

    def _done(self) -> Iterator[CommittedPart | Gap]:
        """What is still to be copied, in order; for a job that ran to its end the parts must leave no gap."""
        start = self._progress.next_row
        parts = self._ledger.ranges.parts(self._record.id, start)
        if self._early:
            deadline = time.monotonic() + _GATHER_SECONDS
            return takewhile(lambda _: time.monotonic() < deadline, contiguous(parts, start))
        rows = (self._record.total or 0) - self._record.base
        if self._record.outcome is None:
            return tiled(parts, start, rows)
        if self._record.outcome == "expired":
            return filled(parts, planned_ranges(self._store, self._names), start)
        return parts

    def _take_part(self, part: CommittedPart, sections: dict[str, Section]) -> None:
        try:
            header, pieces = open_part(self._store, self._names, part)
            for name, data in pieces:
                self._unsaved += sections[name].add(data)
        except ObjectMissing as error:
            raise Unusable(f"part {part.rows} is not there") from error
        except DamagedPart as error:
            self._store.delete(self._names.part(part.rows, part.token))
            raise Unusable(str(error)) from error
        self._progress.results += header.results
        self._progress.errors += header.errors
        self._progress.next_row = part.rows.stop

    def _take_gap(self, gap: Gap, sections: dict[str, Section]) -> None:
        """Rows that were not done when the job expired."""
        first = gap.rows.start - gap.planned.start
        rows = decode_shard(self._store.get(self._names.shard(gap.planned)))
        for row in rows[first : first + len(gap.rows)]:
            failure = row.failure if isinstance(row, BadRow) else _EXPIRED
            owner = row.row if isinstance(row, CarriedRow) else row
            self._unsaved += sections["errors"].add(error_line(owner, failure))
        self._progress.errors += len(gap.rows)
        self._progress.next_row = gap.rows.stop

    def _save(self, sections: dict[str, Section]) -> None:
        for section in sections.values():
            section.save()
        state = self._progress.encode()
        answer, _ = self._ledger.ranges.final_begin(
            self._record.id, self._token, state, early=self._early
        )
        if answer is not Answer.OK:
            raise Replaced
        self._unsaved = 0

    # --- merging -------------------------------------------------------------------------------------

    def _merge(self, outputs: dict[str, str]) -> dict[str, int]:
        """Join this generation's outputs with those of the one before, in place; how many lines there are."""

        def own(section: str) -> Iterator[Line]:
            return indexed(self._store.stream(outputs[section]))

        def before(section: str) -> Iterator[Line]:
            return previous_output(self._store, self._names, section)

        mended = (index for index, _ in own("results"))
        lines = {
            "results": merged(own("results"), before("results")),
            "errors": merged(own("errors"), without(before("errors"), mended)),
        }
        counts = {}
        for section, stream in lines.items():
            counted = Counted(stream)
            target = self._names.output(self._progress.token, f"merged/{section}.jsonl")
            self._store.put_stream(target, readable(counted.chunks()), CONTENT_TYPE)
            counts[section] = counted.lines
            self._role.check()
        for section in SECTIONS:
            outputs[section] = self._names.output(self._progress.token, f"merged/{section}.jsonl")
        return counts
