"""Planning: one stream over the input, every row checked, cut into shards that become claimable at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import structlog

from jobs.errors import InvalidRequest, JobFailure, Unavailable
from jobs.estimates import Estimate
from jobs.ids import new_token
from jobs.kinds import Kind
from jobs.names import JobNames
from jobs.params import parse_params
from jobs.plan import Plan, Source
from jobs.ranges import RowRange
from jobs.record import JobRecord
from jobs.rows import BadRow, Row, RowFailure, encode_shard_row
from jobs.spec import InputSpec
from jobs.training import INPUT, TrainingKind
from storage.broker import invite_idle
from storage.ledger import Answer
from storage.ledger.ranges import MOST_PLANNERS
from storage.parts import encode_shard
from storage.restore import planned_ranges
from storage.submission import SubmittedJob, object_or_none
from workers.bases import Bases
from workers.carrying import Carrying
from workers.cutting import cut
from workers.duplicates import DuplicateCounter
from workers.failing import broken, fail_job
from workers.foretelling import foretell
from workers.retrying import retried_lines, shard_lines
from workers.role import Replaced, Role, Stopping
from workers.runtime import Runtime
from workers.settling import Settling
from workers.sources import read_options, stream_rows
from workers.training_data import (
    WHOLE,
    DataFolder,
    check_bad_rows,
    file_spec,
    training_shard,
)

log = structlog.get_logger(__name__)

#: Seconds after which planning is tried again when store, ledger or a model hub are away.
_PAUSE_SECONDS = 2.0

#: Seconds between two looks for idle workers.
_INVITE_SECONDS = 0.2

#: Rows between two looks whether this planner still counts.
_ROWS_BETWEEN_CHECKS = 256


def _empty() -> JobFailure:
    return JobFailure("empty_input", "the input holds no rows", field="input")


def _check(kind: Kind, row: Row, params: Any) -> RowFailure | None:
    try:
        return kind.check(row, params)
    except Exception as error:
        raise broken(kind, error) from error


def plan_job(runtime: Runtime, job_id: str) -> None:
    """Plan a job. May run twice at once and be killed anywhere: the same input gives the same shards.

    Raises:
        Unavailable: the ledger is away; the sweeper sends another planner once this one's lease ends.
    """
    ranges = runtime.ledger.ranges
    token, begun = new_token(), time.monotonic()
    answer = ranges.plan_begin(job_id, token)
    if answer is Answer.SPENT:
        reason = f"{MOST_PLANNERS} planners ended over the same part of the input"
        fail_job(runtime, job_id, JobFailure("worker_lost", reason))
    elif answer is not Answer.OK:
        return
    record = runtime.ledger.jobs.find(job_id)
    if record is None:
        return
    if answer is Answer.SPENT:
        _end_expired(runtime, record, token)
        return

    def renew() -> Answer:
        return ranges.plan_begin(job_id, token)

    try:
        with Role(
            renew,
            seconds=runtime.settings.lease_seconds,
            begun=begun,
            draining=runtime.draining,
        ) as role:
            planning = _Planning(runtime, record, token, role)
            with planning.base:
                planning.run()
    except Replaced:
        log.info("planner replaced", job=job_id)
        ranges.pause(job_id, "planner", token, 0, "")  # in case that nobody has it: no death
    except (JobFailure, InvalidRequest) as failure:
        fail_job(runtime, job_id, failure)
        _end_expired(runtime, record, token)
    except Stopping:
        ranges.pause(job_id, "planner", token, 0, "")
    except Unavailable as error:
        log.warning("planning waits", job=job_id, reason=error.detail)
        seconds = max(_PAUSE_SECONDS, error.retry_after or 0)
        ranges.pause(job_id, "planner", token, seconds, error.detail)


def _end_expired(runtime: Runtime, record: JobRecord, token: str) -> None:
    """Where a job expired before its planning failed, let what was planned by then be all there is."""
    ranges = runtime.ledger.ranges
    if ranges.plan_begin(record.id, token) is not Answer.OK:
        return  # the failure stands, or somebody else is at it
    names = JobNames(record.tenant, record.id, record.attempts)
    planned = max((rows.stop for rows in planned_ranges(runtime.store, names)), default=0)
    sealed = {"rows": planned, "warnings": []}
    runtime.store.put(names.sealed, orjson.dumps(sealed), "application/json")
    if ranges.seal(record.id, token, planned, "[]") is Answer.FINALIZE:
        runtime.broker.finalize(record.id, record.lane)


class _Planning:
    """One planner's run over one generation of a job."""

    def __init__(self, runtime: Runtime, record: JobRecord, token: str, role: Role) -> None:
        self._runtime = runtime
        self._record = record
        self._names = JobNames(record.tenant, record.id, record.attempts)
        self._job = SubmittedJob.from_json(runtime.store.get(self._names.spec))
        self._token = token
        self._role = role
        #: Nothing has happened to the job since it came in, so there is no plan to look for.
        self._fresh = record.version == 1
        self._duplicates = DuplicateCounter()
        self._invited = 0.0
        self._most_rows = runtime.ledger.accounts.limits(record.tenant).rows_queued
        #: Of an incremental job: the run before, as far as it was read.
        self.base = Bases(runtime, self._job, role.check)
        self._corpus: dict[str, Any] | None = None

    def run(self) -> None:
        data = None if self._fresh else object_or_none(self._runtime.store, self._names.sealed)
        if data is not None:
            self._plan_again(orjson.loads(data))
            return
        kind = self._runtime.kinds.require(self._job.spec.kind)
        params = parse_params(kind, self._job.spec.params)
        settling = Settling(self._runtime, self._job, self._names, self.base)
        plan = settling.plan(kind, params, fresh=self._fresh)
        estimate = None
        if self._job.origin is not None and self._job.origin.preview:
            total, estimate = 0, self._foretell(kind, params, plan).to_json()
        elif isinstance(kind, TrainingKind):
            total = self._plan_training(kind, params, plan)
        else:
            total = self._plan_shards(kind, params, plan)
        skipped = [] if plan.skipped is None else [plan.skipped.warning()]
        warnings = [*skipped, *self._duplicates.warnings(), *self.base.warnings]
        sealed = {
            "rows": total,
            "warnings": warnings,
            "corpus": self._corpus,
            "estimate": estimate,
        }
        # The store first: from here on nobody need read the input again.
        self._role.check()
        self._runtime.store.put(self._names.sealed, orjson.dumps(sealed), "application/json")
        self._seal(sealed)

    def _plan_shards(self, kind: Kind, params: Any, plan: Plan) -> int:
        """Cut the input into shards; how many rows they hold."""
        lines = (
            retried_lines(self._runtime.store, self._names, self._all_lines(kind, params, plan))
            if self._names.generation > 1
            else (line for _, line in self._lines(kind, params, plan))
        )
        total = 0
        for rows, shard in cut(lines, plan.cut):
            self._runtime.store.put(self._names.shard(rows), encode_shard([shard]))
            self._add(rows)
            total = rows.stop
            self._check_quota(total)
        if total == 0 and self._names.generation == 1:
            raise _empty()
        return total

    def _foretell(self, kind: Kind, params: Any, plan: Plan) -> Estimate:
        """Go through the input as if it were planned; what a run would process."""
        spec = self._job.spec.input
        rows = self._rows(kind, params, spec, plan.sources)
        carrying = self._carrying(kind, params, plan)
        speed = self._runtime.ledger.workers.slowest_speed(kind.name, self._job.model_key)
        estimate = foretell(rows, carrying, self.base.measured(plan.carry), speed)
        if carrying is not None:
            self._corpus = carrying.corpus().to_json()
        return estimate

    def _carrying(self, kind: Kind, params: Any, plan: Plan) -> Carrying | None:
        """What the run before knows of the rows; None where the job is not incremental."""
        if plan.carry is None:
            return None
        lookup = self.base.lookup(plan.carry)
        return Carrying(kind, params, self._job.spec.input, plan.carry, lookup)

    def _check_quota(self, total: int) -> None:
        """Refuse a job that by itself has more rows than its tenant may have waiting.

        Raises:
            JobFailure: it has.
        """
        if self._most_rows is not None and total > self._most_rows:
            reason = f"the input has more than {self._most_rows:.0f} rows, the tenant's quota"
            raise JobFailure("rows_quota_exceeded", reason, field="input")

    def _plan_training(self, kind: TrainingKind, params: Any, plan: Plan) -> int:
        """Keep the input as data, and add the one row that a training has."""
        folder = DataFolder(self._runtime.store, self._names)
        kept = folder.record()
        if kept is None:
            given = self._job.spec.input
            kept = {}
            inputs = {INPUT: (given, plan.sources)}
            for name, file_id in kind.files(params).items():
                inputs[name] = (file_spec(given, file_id), plan.files[name])
            for name, (spec, sources) in inputs.items():
                rows = self._rows(kind, params, spec, sources)
                kept[name] = folder.keep(name, rows, self._role.check)
            folder.complete(kept)
        if kept[INPUT].rows == 0:
            raise _empty()
        check_bad_rows(self._job.spec, kept)
        self._runtime.store.put(self._names.shard(WHOLE), training_shard())
        self._add(WHOLE)
        return len(WHOLE)

    def _plan_again(self, sealed: dict[str, Any]) -> None:
        """All shards lie in the store already: only the ledger has to hear of them."""
        for rows in planned_ranges(self._runtime.store, self._names):
            self._add(rows)
        self._seal(sealed)

    def _add(self, rows: RowRange) -> None:
        self._role.check()
        if self._runtime.ledger.ranges.add(self._job.id, self._token, rows) is not Answer.OK:
            raise Replaced
        if time.monotonic() - self._invited > _INVITE_SECONDS:
            invite_idle(self._runtime.ledger, self._runtime.broker)
            self._invited = time.monotonic()

    def _seal(self, sealed: dict[str, Any]) -> None:
        warnings = orjson.dumps(sealed["warnings"]).decode()
        # For ranges that were added just after the last invitation: whoever took that may have left again.
        invite_idle(self._runtime.ledger, self._runtime.broker)
        ranges = self._runtime.ledger.ranges
        answer = ranges.seal(self._job.id, self._token, sealed["rows"], warnings)
        if answer is Answer.FINALIZE:
            self._runtime.broker.finalize(self._job.id, self._job.lane)
        log.info("planned", job=self._job.id, rows=sealed["rows"], answer=answer.value)

    def _lines(self, kind: Kind, params: Any, plan: Plan) -> Iterator[tuple[int, bytes]]:
        """Each row of the input with its index, checked, as a line of a shard."""
        spec = self._job.spec.input
        rows = self._rows(kind, params, spec, plan.sources)
        carrying = self._carrying(kind, params, plan)
        if carrying is None:
            for row in rows:
                yield row.index, encode_shard_row(row)
            return
        yield from carrying.lines(rows)
        self._corpus = carrying.corpus().to_json()

    def _rows(
        self, kind: Kind, params: Any, spec: InputSpec, sources: list[Source]
    ) -> Iterator[Row | BadRow]:
        """Each row of some sources, checked."""
        settings = self._runtime.settings
        options = read_options(settings, spec, kind.fields_of(params))
        checks = type(kind).check is not Kind.check
        for row in stream_rows(self._runtime.store, spec, sources, settings, options):
            if row.index % _ROWS_BETWEEN_CHECKS == 0:
                self._role.check()
            if row.custom_id is not None:
                self._duplicates.count(row.index, row.custom_id)
            checked: Row | BadRow = row
            if checks and isinstance(row, Row):
                failure = _check(kind, row, params)
                if failure is not None:
                    checked = BadRow(row.index, failure, row.source, row.line, row.custom_id)
            yield checked

    def _all_lines(self, kind: Kind, params: Any, plan: Plan) -> Iterator[tuple[int, bytes]]:
        """As :meth:`_lines`; from the first generation's shards where it was planned to its end."""
        first = replace(self._names, generation=1)
        sealed = object_or_none(self._runtime.store, first.sealed)
        if sealed is not None:
            self._corpus = orjson.loads(sealed).get("corpus")
            yield from shard_lines(self._runtime.store, first)
        else:
            yield from self._lines(kind, params, plan)
