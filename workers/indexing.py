"""At the end of an incremental job: what became of its corpus, and the index that the next run takes outputs from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog

from jobs.corpora import Corpus, name_of
from jobs.errors import Unavailable
from jobs.modelref import ModelRef
from jobs.names import JobNames
from jobs.origin import Origin
from jobs.plan import CarryPlan, Plan
from jobs.record import JobRecord
from jobs.rows import Marks
from jobs.schedule_names import index_key
from storage.corpus import CorpusIndexes, IndexBuilder, Measured, ScratchFull
from storage.objects import ObjectMissing
from storage.parts import DamagedPart
from storage.schedules import ScheduleBook
from storage.submission import SubmittedJob, object_or_none
from workers.bases import indexes_of
from workers.measuring import planned_lines
from workers.model_content import content_of, never_changes
from workers.role import Role
from workers.runtime import Runtime

log = structlog.get_logger(__name__)

#: Rows between two looks at whether this process is still the one to do it.
_BETWEEN_CHECKS = 1_000


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """What is to be told of a job's corpus."""

    corpus: Corpus | None = None  #: None: the job is not incremental, or its planning did not end
    estimate: dict[str, Any] | None = None  #: what a run would process, of a preview
    warnings: tuple[dict[str, Any], ...] = ()


def index_corpus(
    runtime: Runtime, names: JobNames, record: JobRecord, *, results: str, failed: int, role: Role
) -> Indexed:
    """Tell what became of an incremental job's corpus; and of one that ran to its end, write the index.

    Harmless when repeated, and when done by two at once: both write the same. A job never fails for want of an index:
    the next run then computes more than it had to.

    Args:
        runtime: of the finalizer.
        names: of the job's newest generation.
        record: of the job, at its end.
        results: name of the object that holds its results.
        failed: how many rows have none.
        role: that this process must still have.

    Raises:
        Replaced: somebody else does it by now.
        Stopping: somebody else should go on.
        Unavailable: store or ledger are away.
    """
    sealed = object_or_none(runtime.store, names.sealed)
    entry: dict[str, Any] = {} if sealed is None else orjson.loads(sealed)
    corpus, estimate = entry.get("corpus"), entry.get("estimate")
    if corpus is None:
        return Indexed(estimate=estimate)
    found = replace(Corpus.from_json(corpus), failed=failed)
    if estimate is not None:
        return Indexed(corpus=found, estimate=estimate)
    job = SubmittedJob.from_json(runtime.store.get(names.spec))
    indexes = indexes_of(runtime, job)
    if job.origin is None or indexes is None or record.outcome is not None:
        return Indexed(corpus=found)
    indexing = _Indexing(
        runtime=runtime,
        names=names,
        record=record,
        job=job,
        origin=job.origin,
        indexes=indexes,
        role=role,
    )
    try:
        indexing.run(results)
    except (ScratchFull, ObjectMissing, DamagedPart) as error:
        log.warning("not indexed", job=job.id, reason=str(error))
        return Indexed(corpus=found, warnings=(_not_written(str(error)),))
    except _ModelChanged:
        return Indexed(
            corpus=found, warnings=(_not_written("nothing tells that the model stayed the same"),)
        )
    return Indexed(corpus=found)


class _ModelChanged(Exception):
    """Nobody knows which rows were computed by which of two models."""


@dataclass(kw_only=True)
class _Indexing:
    runtime: Runtime
    names: JobNames
    record: JobRecord
    job: SubmittedJob
    origin: Origin
    indexes: CorpusIndexes
    role: Role
    rows: int = 0
    computed: int = 0
    text_bytes: int = 0

    def run(self, results: str) -> None:
        plan = Plan.model_validate_json(self.runtime.store.get(self.names.plan))
        if plan.carry is None:
            return
        if self._gone():
            self.indexes.unpin(self.job.id)
            return
        self._check_model(plan, plan.carry)
        key = index_key(self.origin.run, self.names.generation)
        with IndexBuilder() as builder:
            self._collect(builder, results)
            builder.write(
                self.indexes,
                key=key,
                job=self.job.id,
                run=self.origin.run,
                fingerprint=plan.carry.fingerprint,
                rows=self.rows,
                measured=self._measured(plan.carry),
                check=self.role.check,
            )
        self.indexes.unpin(self.job.id)
        if self._gone():
            self.indexes.remove(key)
            return
        self.indexes.prune(self._pinned())

    def _gone(self) -> bool:
        """Whether the schedule was deleted: nobody will ask for the index."""
        book = ScheduleBook(self.runtime.store, self.runtime.ledger)
        newest = book.newest(self.job.tenant, self.origin.schedule)
        return newest is None or newest.deleted

    def _check_model(self, plan: Plan, carry: CarryPlan) -> None:
        if plan.model is None or carry.content is None or never_changes(carry.content):
            return
        owner, ref = self.job.model_owner, ModelRef.parse(plan.model)
        try:
            found = content_of(self.runtime, owner, ref)
        except Unavailable as error:
            # Results are not to wait for the hub of an adapter's base.
            self.runtime.store.probe()
            raise _ModelChanged from error
        if found != carry.content:
            raise _ModelChanged

    def _collect(self, builder: IndexBuilder, results: str) -> None:
        made = _made(self.runtime.store.stream(results))
        ahead = next(made, None)
        for line in self._lines():
            row = orjson.loads(line)
            output = None
            if ahead is not None and ahead[0] == row["index"]:
                output = ahead[1]
                ahead = next(made, None)
            self.rows += 1
            if "digest" not in row:
                if row["custom_id"] is not None:
                    builder.add_name(name_of(row["custom_id"]))
                continue
            if "carried" not in row:
                self.computed += 1
                self.text_bytes += len(row["text"].encode())
            marks = Marks(bytes.fromhex(row["digest"]), bytes.fromhex(row["name"]))
            builder.add(marks, output)
        if ahead is not None:
            raise DamagedPart(f"no shard holds row {ahead[0]}")

    def _lines(self) -> Iterator[bytes]:
        for number, line in enumerate(planned_lines(self.runtime.store, self.names)):
            if number % _BETWEEN_CHECKS == 0:
                self.role.check()
            yield line

    def _measured(self, carry: CarryPlan) -> Measured:
        own = Measured(
            rows=self.computed,
            text_bytes=self.text_bytes,
            input_tokens=self.record.input_tokens,
            output_tokens=self.record.output_tokens,
            device_ms=self.record.device_ms,
        )
        before = None if carry.base is None else self.indexes.find(carry.base)
        if before is None or before.fingerprint != carry.fingerprint:
            return own
        return own.joined(before.measured)

    def _pinned(self) -> frozenset[str]:
        """Indexes that jobs may want to read again; the pins of jobs that have ended go."""
        kept = set()
        for job_id, key in self.indexes.pins().items():
            found = self.runtime.ledger.jobs.find(job_id)
            if found is None or found.status.ended:
                self.indexes.unpin(job_id)
            else:
                kept.add(key)
        return frozenset(kept)


def _made(results: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each row's index and ``{"output", "usage"}`` from the chunks of a job's results."""
    rest = b""
    for chunk in results:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            entry = orjson.loads(line)
            made = {"output": entry["output"], "usage": entry["usage"]}
            yield entry["index"], orjson.dumps(made)


def _not_written(reason: str) -> dict[str, Any]:
    message = f"The next run computes more rows than it would have to: {reason}."
    return {"code": "index_not_written", "message": message}
