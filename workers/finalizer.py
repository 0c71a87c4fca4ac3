"""Finalizing: committed parts are joined in input order, the manifest is written once, the state follows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import structlog

from jobs.ids import new_token
from jobs.names import JobNames
from jobs.ranges import RowRange, check_tiling
from jobs.record import JobRecord
from jobs.states import Status
from storage.ledger import Answer, CommittedPart
from storage.objects import ObjectMissing
from storage.parts import open_part
from storage.streams import readable
from storage.submission import read_manifest
from workers.runtime import Runtime

log = structlog.get_logger(__name__)

SECTIONS = ("results", "errors")

#: Bytes of output after which a piece is put away, so that a killed finalizer need not start over.
PIECE_BYTES = 16 << 20

#: S3 joins objects on the server only when all but the last have at least this size.
COMPOSE_BYTES = 5 << 20

_ENDED_BY_OUTCOME = {
    None: Status.COMPLETED,
    "cancelled": Status.CANCELLED,
    "failed": Status.FAILED,
    "expired": Status.EXPIRED,
}


class _Replaced(Exception):
    """Another finalizer took over, or the job has ended."""


@dataclass
class Progress:
    """What is finished, as recorded in the ledger for whoever has to go on."""

    token: str  #: names the output folder
    next_row: int = 0  #: all committed parts before this row are in the pieces
    results: int = 0  #: lines
    errors: int = 0
    pieces: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in SECTIONS})

    def encode(self) -> str:
        return orjson.dumps(self.__dict__).decode()

    @classmethod
    def decode(cls, text: str) -> Progress:
        return cls(**orjson.loads(text))


def finalize_job(runtime: Runtime, job_id: str) -> None:
    """Finalize a job. Harmless when repeated, and when done by two at once: both write the same bytes.

    Raises:
        Unavailable: store or ledger are away; the sweeper sends another finalizer once this one's lease ends.
    """
    token = new_token()
    answer, state = runtime.ledger.ranges.final_begin(job_id, token)
    if answer is not Answer.OK:
        return
    record = runtime.ledger.jobs.find(job_id)
    if record is None:
        return
    progress = Progress.decode(state) if state else Progress(token)
    try:
        _Finalizing(runtime, record, token, progress).run()
    except _Replaced:
        log.info("finalizer replaced", job=job_id)


class _Finalizing:
    """One finalizer's run over one job."""

    def __init__(self, runtime: Runtime, record: JobRecord, token: str, progress: Progress) -> None:
        self._ledger = runtime.ledger
        self._store = runtime.store
        self._record = record
        self._token = token
        self._names = JobNames(record.tenant, record.id)
        self._progress = progress

    def run(self) -> None:
        try:
            manifest = read_manifest(self._store, self._names)
        except ObjectMissing:
            manifest = self._write()
        ended = JobRecord.from_json(manifest["job"])
        if self._ledger.jobs.finish(ended):
            log.info(
                "ended",
                job=ended.id,
                status=ended.status.value,
                rows=ended.completed + ended.failed,
            )

    def _write(self) -> dict[str, Any]:
        self._gather()
        outputs = {section: self._join(section) for section in SECTIONS}
        self._store.copy(outputs["results"], self._names.results)
        self._store.copy(outputs["errors"], self._names.errors)
        record = self._record
        ended = replace(
            record,
            status=_ENDED_BY_OUTCOME[record.outcome],
            ended_at=record.now,
            completed=self._progress.results,
            failed=self._progress.errors,
        )
        manifest: dict[str, Any] = {
            "format": 1,
            "job": ended.to_json(),
            "outputs": {
                section: {"object": name, "bytes": self._store.stat(name).size}
                for section, name in outputs.items()
            },
        }
        if not self._store.put_once(self._names.manifest, orjson.dumps(manifest)):
            # Somebody else's manifest stands, and names the output that counts.
            manifest = read_manifest(self._store, self._names)
        self._delete_pieces()
        return manifest

    # --- gathering -----------------------------------------------------------------------------------

    def _gather(self) -> None:
        """Copy the parts into pieces of about 16 MiB, recording each pair that is finished."""
        progress = self._progress
        buffers = {name: bytearray() for name in SECTIONS}
        for part in self._parts():
            header, pieces = open_part(self._store, self._names, part)
            for name, data in pieces:
                buffers[name] += data
            progress.results += header.results
            progress.errors += header.errors
            progress.next_row = part.rows.stop
            if len(buffers["results"]) + len(buffers["errors"]) >= PIECE_BYTES:
                self._put_pieces(buffers)
            else:
                self._stay()
        self._put_pieces(buffers)

    def _parts(self) -> Iterator[CommittedPart]:
        """The parts that are still to be copied; for a job that ran to its end they must leave no gap."""
        start = self._progress.next_row
        parts = self._ledger.ranges.parts(self._record.id, start)
        if self._record.outcome is not None:
            return parts
        return _tiled(parts, start, self._record.total or 0)

    def _put_pieces(self, buffers: dict[str, bytearray]) -> None:
        for name, buffer in buffers.items():
            if buffer:
                sizes = self._progress.pieces[name]
                self._store.put(self._piece(name, len(sizes)), bytes(buffer))
                sizes.append(len(buffer))
                buffer.clear()
        self._stay(self._progress.encode())

    def _stay(self, state: str = "") -> None:
        answer, _ = self._ledger.ranges.final_begin(self._record.id, self._token, state)
        if answer is not Answer.OK:
            raise _Replaced

    # --- joining -------------------------------------------------------------------------------------

    def _join(self, section: str) -> str:
        """Make one object of a section's pieces: on the server where S3 allows, else by streaming."""
        target = self._names.output(self._progress.token, f"{section}.jsonl")
        sizes = self._progress.pieces[section]
        pieces = [self._piece(section, number) for number in range(len(sizes))]
        if not pieces:
            self._store.put(target, b"", "application/x-ndjson")
        elif len(pieces) == 1:
            self._store.copy(pieces[0], target)
        elif min(sizes[:-1]) >= COMPOSE_BYTES:
            self._store.compose(pieces, target)
        else:
            stream = (chunk for piece in pieces for chunk in self._store.stream(piece))
            self._store.put_stream(target, readable(stream), "application/x-ndjson")
        self._stay()
        return target

    def _piece(self, section: str, number: int) -> str:
        return self._names.output(self._progress.token, f"pieces/{section}-{number:06d}")

    def _delete_pieces(self) -> None:
        for section in SECTIONS:
            for number in range(len(self._progress.pieces[section])):
                self._store.delete(self._piece(section, number))


def _tiled(parts: Iterable[CommittedPart], start: int, total: int) -> Iterator[CommittedPart]:
    """Pass parts through while checking that they cover ``[start, total)``.

    Raises:
        TilingError: they do not; nothing is written then, for a result with a gap would look whole.
    """
    held: list[CommittedPart] = []

    def ranges() -> Iterator[RowRange]:
        for part in parts:
            held.append(part)
            yield part.rows

    for _ in check_tiling(ranges(), total, start):
        yield held.pop()
