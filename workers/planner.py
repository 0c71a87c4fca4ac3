"""Planning: one stream over the input, every row checked, cut into shards that become claimable at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from jobs.errors import InvalidRequest, JobFailure
from jobs.ids import new_token
from jobs.kinds import Kind
from jobs.modelref import ModelRef
from jobs.names import JobNames
from jobs.params import parse_params
from jobs.plan import CutRule, Plan, ShardLimits, cut_rule
from jobs.ranges import RowRange
from jobs.rows import BadRow, Row, RowFailure, encode_shard_row
from storage.ledger import Answer
from storage.objects import ObjectMissing
from storage.parts import encode_shard
from storage.submission import SubmittedJob
from workers.failing import broken, fail_job
from workers.model_files import ModelFiles
from workers.runtime import Runtime
from workers.sources import pin_sources, read_options, stream_rows

log = structlog.get_logger(__name__)

#: Seconds between two renewals of the planner's lease while no shard gets full.
_RENEW_SECONDS = 5.0

#: Rows among which repeated custom_ids are counted; bounds the memory that counting takes.
_COUNTED_ROWS = 200_000


class _Replaced(Exception):
    """Another planner took over, or the job's outcome is decided."""


@dataclass
class DuplicateCounter:
    """Counts repeated ``custom_id`` values among the first rows."""

    repeated: int = 0
    _seen: set[int] = field(default_factory=set)

    def count(self, row: Row | BadRow) -> None:
        if row.custom_id is None or row.index >= _COUNTED_ROWS:
            return
        key = hash(row.custom_id)
        if key in self._seen:
            self.repeated += 1
        self._seen.add(key)

    def warnings(self) -> list[dict[str, Any]]:
        if not self.repeated:
            return []
        message = (
            f"{self.repeated} rows among the first {_COUNTED_ROWS:,} repeat a custom_id of an earlier row; "
            "index tells them apart"
        )
        return [{"code": "repeated_custom_id", "message": message, "count": self.repeated}]


def cut(
    lines: Iterator[tuple[int, bytes]], rule: CutRule
) -> Iterator[tuple[RowRange, list[bytes]]]:
    """Cut numbered lines into shards: a pure function of the lines and the rule."""
    start, size = 0, 0
    held: list[bytes] = []
    for index, line in lines:
        if held and (len(held) >= rule.max_rows or size + len(line) > rule.max_bytes):
            yield RowRange(start, index), held
            start, size, held = index, 0, []
        held.append(line)
        size += len(line)
    if held:
        yield RowRange(start, start + len(held)), held


def _check(kind: Kind, row: Row, params: Any) -> RowFailure | None:
    try:
        return kind.check(row, params)
    except Exception as error:
        raise broken(kind, error) from error


def plan_job(runtime: Runtime, job_id: str) -> None:
    """Plan a job. May run twice at once and be killed anywhere: the same input gives the same shards.

    Raises:
        Unavailable: store or ledger are away; the sweeper sends another planner once this one's lease ends.
    """
    ranges = runtime.ledger.ranges
    token = new_token()
    if ranges.plan_begin(job_id, token) is not Answer.OK:
        return
    record = runtime.ledger.jobs.find(job_id)
    if record is None:
        return
    names = JobNames(record.tenant, job_id)
    job = SubmittedJob.from_json(runtime.store.get(names.spec))
    try:
        _Planning(runtime, job, token).run()
    except _Replaced:
        log.info("planner replaced", job=job_id)
    except (JobFailure, InvalidRequest) as failure:
        fail_job(runtime, job_id, failure)


class _Planning:
    """One planner's run over one job."""

    def __init__(self, runtime: Runtime, job: SubmittedJob, token: str) -> None:
        self._runtime = runtime
        self._job = job
        self._token = token
        self._names = JobNames(job.tenant, job.id)
        self._duplicates = DuplicateCounter()
        self._renewed = time.monotonic()

    def run(self) -> None:
        kind = self._runtime.kinds.require(self._job.spec.kind)
        params = parse_params(kind, self._job.spec.params)
        plan = self._plan()
        total = 0
        for rows, lines in cut(self._lines(kind, params, plan), plan.cut):
            self._runtime.store.put(self._names.shard(rows), encode_shard(lines))
            added = self._runtime.ledger.ranges.add(self._job.id, self._token, rows)
            if added is not Answer.OK:
                raise _Replaced
            self._renewed = time.monotonic()
            self._invite()
            total = rows.stop
        if total == 0:
            raise JobFailure("empty_input", "the input holds no rows", field="input")
        warnings = orjson.dumps(self._duplicates.warnings()).decode()
        answer = self._runtime.ledger.ranges.seal(self._job.id, self._token, total, warnings)
        if answer is Answer.FINALIZE:
            self._runtime.broker.finalize(self._job.id)
        log.info("planned", job=self._job.id, rows=total)

    def _plan(self) -> Plan:
        """The plan that an earlier planner wrote, or a new one, written before anything is cut."""
        spec, store = self._job.spec, self._runtime.store
        try:
            return Plan.model_validate_json(store.get(self._names.plan))
        except ObjectMissing:
            pass
        model = self._pinned_model()
        sources = pin_sources(store, self._job.tenant, spec.input)
        settings = self._runtime.settings
        workers = self._runtime.ledger.workers
        limits = ShardLimits(
            max_rows=settings.shard_max_rows,
            max_bytes=settings.shard_max_bytes,
            seconds=settings.shard_seconds,
            workers=workers.count(),
        )
        rule = cut_rule(
            limits,
            total_rows=None if spec.input.items is None else len(spec.input.items),
            total_bytes=sum(source.size for source in sources) if sources else None,
            bytes_per_second=workers.slowest_speed(spec.kind, self._job.model_key),
        )
        plan = Plan(sources=sources, cut=rule, model=model)
        if store.put_once(self._names.plan, plan.model_dump_json().encode()):
            if model is not None:
                facts = {**(self._job.model or {}), "ref": model}
                self._runtime.ledger.jobs.set_model(self._job.id, facts)
            return plan
        return Plan.model_validate_json(store.get(self._names.plan))

    def _pinned_model(self) -> str | None:
        """The model's reference with its revision fixed, so that every shard is computed by the same one."""
        model = self._job.model
        if model is None:
            return None
        return str(ModelFiles(self._runtime).pin(ModelRef.parse(model["ref"])))

    def _lines(self, kind: Kind, params: Any, plan: Plan) -> Iterator[tuple[int, bytes]]:
        spec, settings = self._job.spec.input, self._runtime.settings
        options = read_options(settings, spec, kind.fields)
        for row in stream_rows(self._runtime.store, spec, plan.sources, settings, options):
            self._keep_lease()
            self._duplicates.count(row)
            checked: Row | BadRow = row
            if isinstance(row, Row) and (failure := _check(kind, row, params)) is not None:
                checked = BadRow(row.index, failure, row.source, row.line, row.custom_id)
            yield row.index, encode_shard_row(checked)

    def _keep_lease(self) -> None:
        if time.monotonic() - self._renewed > _RENEW_SECONDS:
            if self._runtime.ledger.ranges.plan_begin(self._job.id, self._token) is not Answer.OK:
                raise _Replaced
            self._renewed = time.monotonic()

    def _invite(self) -> None:
        workers = self._runtime.ledger.workers
        slot = workers.invite(workers.count())
        if slot is not None:
            self._runtime.broker.invite(slot)
