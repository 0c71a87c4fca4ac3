"""What a model worker does with an invitation: claim, compute, commit, until nothing is left."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from jobs.errors import InvalidRequest, JobFailure, Unavailable
from jobs.ids import new_token
from jobs.kinds import Kind, KindParams, LoadedModel, NoModel, RunContext
from jobs.modelref import ModelRef
from jobs.names import JobNames
from jobs.params import parse_params
from jobs.plan import Plan
from jobs.ranges import RowRange
from jobs.rows import (
    BadRow,
    Outcome,
    Row,
    RowFailure,
    Success,
    Usage,
    error_line,
    result_line,
)
from nlp.cache import ModelCache
from storage.ledger import Answer
from storage.objects import ObjectMissing
from storage.parts import decode_shard, encode_part, shard_bytes
from storage.submission import SubmittedJob
from workers.failing import fail_job, kind_faults
from workers.lease import Drain, JobStopped, Lease, LeaseLost
from workers.model_files import ModelFiles
from workers.presence import Presence
from workers.runtime import Runtime

log = structlog.get_logger(__name__)

#: Prepared jobs kept at hand, so that workers which alternate between jobs prepare each only once.
_OPEN_JOBS = 4

Value = TypeVar("Value")


@dataclass(frozen=True)
class OpenJob:
    """A job that this worker is ready to compute for."""

    job: SubmittedJob
    names: JobNames
    kind: Kind
    params: KindParams
    model_key: str  #: what the cache knows the model by; empty without one
    model: LoadedModel
    state: Any


@dataclass
class Work:
    """What has been computed of a range so far: always its first rows, whole windows of them."""

    rows: RowRange
    row_bytes: float  #: average size of a row in the shard
    results: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    @property
    def done(self) -> RowRange | None:
        """The rows computed, or None when there are none yet."""
        count = len(self.results) + len(self.errors)
        return RowRange(self.rows.start, self.rows.start + count) if count else None


class ModelWorker:
    """One device's worker. Lives as long as its process, so models stay loaded between invitations."""

    def __init__(self, runtime: Runtime, cache: ModelCache, presence: Presence) -> None:
        if runtime.device is None:
            raise ValueError("a model worker needs a device")
        self._runtime = runtime
        self._device = runtime.device
        self._cache = cache
        self._files = ModelFiles(runtime)
        self._presence = presence
        self._open: OrderedDict[str, OpenJob] = OrderedDict()

    def serve(self, slot: str) -> None:
        """Answer an invitation; duplicates and lapsed ones return at once."""
        ledger = self._runtime.ledger
        if not ledger.workers.accept(slot):
            return
        deadline = time.monotonic() + self._runtime.settings.slice_seconds
        while not self._runtime.draining.is_set():
            job_id = ledger.ranges.choose(self._cache.resident())
            if job_id is None:
                return
            self._serve_job(job_id)
            if time.monotonic() > deadline:
                break
        another = ledger.workers.invite(ledger.workers.count())
        if another is not None:
            self._runtime.broker.invite(another)

    # --- one job -----------------------------------------------------------------------------------

    def _serve_job(self, job_id: str) -> None:
        """Claim and compute one range of a job. The model is loaded before anything is claimed."""
        try:
            opened = self._opened(job_id)
        except (JobFailure, InvalidRequest) as failure:
            fail_job(self._runtime, job_id, failure)
            return
        except Unavailable:
            # A model hub or store that is away must not keep other jobs waiting behind this one.
            record = self._runtime.ledger.jobs.find(job_id)
            if record is not None:
                self._runtime.ledger.ranges.defer(job_id, record.priority)
            raise
        token, claimed = new_token(), time.monotonic()
        rows = self._runtime.ledger.ranges.claim(job_id, token)
        if rows is None:
            return
        self._presence.working_on(job_id)
        lease = Lease(
            self._runtime.ledger,
            job_id,
            rows,
            token,
            seconds=self._runtime.settings.lease_seconds,
            claimed=claimed,
        )
        try:
            with lease:
                self._compute(opened, lease)
        except (LeaseLost, JobStopped) as stop:
            log.info("dropped", job=job_id, rows=str(rows), reason=type(stop).__name__)
            self._runtime.ledger.ranges.release(job_id, rows, token)
        except (JobFailure, InvalidRequest) as failure:
            fail_job(self._runtime, job_id, failure)
            self._runtime.ledger.ranges.release(job_id, rows, token)
        except Unavailable:
            # An outage is nobody's death: the range goes back without an attempt, where that can be said.
            with suppress(Unavailable):
                self._runtime.ledger.ranges.release(job_id, rows, token)
            raise
        finally:
            self._presence.working_on(None)

    def _opened(self, job_id: str) -> OpenJob:
        opened = self._open.get(job_id)
        if opened is None:
            opened = self._prepare(job_id)
            self._forget_evicted()
            self._open[job_id] = opened
            while len(self._open) > _OPEN_JOBS:
                self._open.popitem(last=False)
        self._open.move_to_end(job_id)
        return opened

    def _forget_evicted(self) -> None:
        """Let go of jobs whose model the cache gave up: its memory is free only once nobody holds it."""
        resident = set(self._cache.resident())
        for job_id, opened in list(self._open.items()):
            if opened.model_key and opened.model_key not in resident:
                del self._open[job_id]

    def _prepare(self, job_id: str) -> OpenJob:
        record = self._runtime.ledger.jobs.find(job_id)
        if record is None:
            raise Unavailable(f"job {job_id} is not in the ledger")
        names = JobNames(record.tenant, job_id)
        job = SubmittedJob.from_json(self._runtime.store.get(names.spec))
        kind = self._runtime.kinds.require(job.spec.kind)
        params = parse_params(kind, job.spec.params)
        model: LoadedModel = NoModel()
        model_key = ""
        if kind.needs_model and job.model is not None:
            started = time.monotonic()
            plan = Plan.model_validate_json(self._runtime.store.get(names.plan))
            model_key = plan.model or job.model_key
            folder = self._files.folder(job.tenant, ModelRef.parse(model_key))
            with kind_faults(kind):
                model = self._cache.get(model_key, kind, folder, params.precision)
            self._presence.holding(self._cache.resident())
            facts = {**job.model, "ref": model_key, **model.describe()}
            self._runtime.ledger.jobs.set_model(job_id, facts)
            log.info("model ready", model=model_key, seconds=round(time.monotonic() - started, 1))
        with kind_faults(kind):
            state = kind.prepare(model, params, RunContext(device=self._device))
        return OpenJob(job, names, kind, params, model_key, model, state)

    # --- one range ---------------------------------------------------------------------------------

    def _compute(self, opened: OpenJob, lease: Lease) -> None:
        shard, row_bytes = self._shard_of(opened, lease)
        work = Work(lease.rows, row_bytes)
        started = time.monotonic()

        def tick(_rows: int) -> None:
            lease.check()
            if self._runtime.draining.is_set():
                raise Drain

        context = RunContext(device=self._device, tick=tick)
        try:
            for start in range(0, len(shard), opened.kind.window_rows):
                window = shard[start : start + opened.kind.window_rows]
                self._run_window(opened, window, context, work)
                work.seconds = time.monotonic() - started
        except Drain:
            log.info("draining", job=lease.job_id, done=str(work.done), range=str(lease.rows))
        self._commit(opened, lease, work)

    def _shard_of(self, opened: OpenJob, lease: Lease) -> tuple[list[Row | BadRow], float]:
        """The rows of the lease, and the average size of one in bytes.

        After a partial commit its range starts inside the shard that was planned.
        """
        store, names = self._runtime.store, opened.names

        def fetch() -> bytes:
            try:
                return store.get(names.shard(lease.rows))
            except ObjectMissing:
                origin = self._runtime.ledger.ranges.origin(lease.job_id, lease.rows)
                return store.get(names.shard(origin))

        data = _persist(lease, fetch)
        rows = decode_shard(data)
        leased = [row for row in rows if lease.rows.start <= row.index < lease.rows.stop]
        return leased, shard_bytes(data) / len(rows)

    def _run_window(
        self,
        opened: OpenJob,
        window: Sequence[Row | BadRow],
        context: RunContext,
        work: Work,
    ) -> None:
        good = [row for row in window if isinstance(row, Row)]
        outcomes: list[Outcome] = []
        if good:
            with kind_faults(opened.kind):
                outcomes = opened.kind.run(opened.model, opened.state, good, opened.params, context)
        context.tick(0)
        if len(outcomes) != len(good):
            raise JobFailure(
                "kind_broken",
                f"kind {opened.kind.name} gave {len(outcomes)} outcomes for {len(good)} rows",
            )
        carry = tuple(opened.job.spec.input.carry)
        by_index = dict(zip((row.index for row in good), outcomes, strict=True))
        for row in window:
            if isinstance(row, BadRow):
                work.errors.append(error_line(row, row.failure))
                continue
            outcome = by_index[row.index]
            if isinstance(outcome, RowFailure):
                work.errors.append(error_line(row, outcome))
            else:
                success = self._published(opened, outcome)
                work.results.append(result_line(row, success, carry))
                work.usage += outcome.usage

    def _published(self, opened: OpenJob, success: Success) -> Success:
        """The same success; a model that it made is in the registry then, and named in its output."""
        product = success.product
        if product is None:
            return success
        version = self._runtime.registry.publish(
            opened.job.tenant,
            product.name,
            product.folder,
            source=product.source,
            facts=dict(product.facts),
        )
        output = {"model": version.name, "version": version.version, **success.output}
        return Success(output, success.usage)

    def _commit(self, opened: OpenJob, lease: Lease, work: Work) -> None:
        ledger, store = self._runtime.ledger, self._runtime.store
        done = work.done
        if done is None:
            ledger.ranges.release(lease.job_id, lease.rows, lease.token)
            return
        part = encode_part(done, work.results, work.errors)
        _persist(lease, lambda: store.put(opened.names.part(done, lease.token), part))
        answer = _persist(
            lease,
            lambda: ledger.ranges.commit(
                lease.job_id,
                lease.rows,
                lease.token,
                done=done,
                results=len(work.results),
                errors=len(work.errors),
                usage=work.usage,
                device_ms=round(work.seconds * 1000),
            ),
        )
        if answer is Answer.FINALIZE:
            self._runtime.broker.finalize(lease.job_id)
        self._measure(opened, work)
        log.info(
            "committed",
            job=lease.job_id,
            rows=str(done),
            answer=answer.value,
            seconds=round(work.seconds, 2),
            errors=len(work.errors),
        )

    def _measure(self, opened: OpenJob, work: Work) -> None:
        """Remember the speed, so that later plans cut shards of the right size."""
        if work.done is not None and work.seconds > 0:
            speed = len(work.done) * work.row_bytes / work.seconds
            self._runtime.ledger.workers.record_speed(
                opened.kind.name, opened.job.model_key, self._device.type, speed
            )


def _persist(lease: Lease, step: Callable[[], Value]) -> Value:
    """Do a step, again and again through an outage of store or ledger, while the lease holds.

    Raises:
        LeaseLost: the outage outlived the lease.
        JobStopped: the job ended meanwhile.
    """
    pause = 0.1
    while True:
        lease.check()
        try:
            return step()
        except Unavailable as error:
            log.warning("waiting", job=lease.job_id, reason=error.detail)
            time.sleep(pause)
            pause = min(pause * 2, 2.0)
