"""What a model worker does with an invitation: claim, compute, commit, until nothing is left."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import orjson
import structlog

from jobs.errors import InvalidRequest, JobFailure, Unavailable
from jobs.ids import new_token
from jobs.kinds import LoadedModel, NoModel, RunContext
from jobs.modelref import ModelRef
from jobs.names import SYSTEM, JobNames
from jobs.params import parse_params
from jobs.plan import Plan
from jobs.training import TrainingKind
from nlp.cache import ModelCache
from storage.ledger import Claim
from storage.objects import ObjectMissing
from storage.parts import DamagedPart
from storage.submission import SubmittedJob, object_or_none
from workers.committing import Committer
from workers.computing import OpenJob, RangeComputer, Work
from workers.engines import Engines, ModelUse
from workers.failing import fail_job, kind_faults
from workers.lease import JobStopped, Lease, LeaseLost, give_back
from workers.model_files import ModelFiles, Source
from workers.presence import Presence
from workers.runtime import Runtime
from workers.training import TrainingBase, TrainingComputer
from workers.training_child import TrainingDied

log = structlog.get_logger(__name__)

#: Prepared jobs kept at hand, so that workers which alternate between jobs prepare each only once.
_OPEN_JOBS = 4

#: Openings of a job without a single claim, for each live worker, after which the job is to blame.
_MOST_OPENINGS = 5


class ModelWorker:
    """One device's worker. Lives as long as its process, so models stay loaded between invitations."""

    def __init__(self, runtime: Runtime, cache: ModelCache, presence: Presence) -> None:
        if runtime.device is None:
            raise ValueError("a model worker needs a device")
        self._runtime = runtime
        self._device = runtime.device
        self._cache = cache
        self._files = ModelFiles(runtime)
        self._files.disk.clean()
        self._engines = Engines(runtime.store, cache, self._device, self._files.disk)
        self._presence = presence
        self._open: OrderedDict[str, OpenJob] = OrderedDict()
        self._computer = RangeComputer(runtime, runtime.device)
        self._trainer = TrainingComputer(runtime, runtime.device)
        self._committer = Committer(runtime, runtime.device)
        self._commits = ThreadPoolExecutor(1, "commit")
        self._committing: Future[None] | None = None
        self._cut_off = False  # whether the store was away when it was last needed

    def serve(self, slot: str) -> None:
        """Answer an invitation; duplicates and lapsed ones return at once.

        Raises:
            Unavailable: store or ledger are away.
        """
        ledger = self._runtime.ledger
        if not ledger.workers.accept(self._device.type, slot):
            return
        if self._cut_off:
            # Whoever cannot reach the store claims nothing, so as not to hold what others could compute.
            self._runtime.store.exists(SYSTEM)
            self._cut_off = False
        deadline = time.monotonic() + self._runtime.settings.slice_seconds
        self._presence.busy(True)
        try:
            while not self._runtime.draining.is_set():
                job_id = ledger.ranges.choose(self._cache.resident())
                if job_id is None:
                    return
                self._serve_job(job_id)
                if self._cut_off:
                    raise Unavailable("the store or the ledger was away for too long")
                if time.monotonic() > deadline:
                    break
        finally:
            self._await_commit()
            self._presence.busy(False)
        if not self._runtime.draining.is_set():
            # The slice is over, not the work: back through the queue, where control messages can be heard.
            invitation = ledger.workers.invite(self._device.type, 1)
            if invitation is not None:
                slot, priority = invitation
                self._runtime.broker.invite(slot, self._device.type, priority)

    # --- one job -----------------------------------------------------------------------------------

    def _serve_job(self, job_id: str) -> None:
        """Claim and compute one range of a job. The model is loaded before anything is claimed."""
        ranges = self._runtime.ledger.ranges
        try:
            opened = self._opened(job_id)
        except (JobFailure, InvalidRequest) as failure:
            fail_job(self._runtime, job_id, failure)
            return
        except Unavailable as error:
            # A model hub or store that is away must not keep other jobs waiting behind this one.
            pause = ranges.defer(job_id, error.detail)
            log.warning("deferred", job=job_id, seconds=pause, reason=error.detail)
            return
        token, claimed = new_token(), time.monotonic()
        claim = ranges.claim(job_id, token)
        if claim is None:
            return
        if claim.generation != opened.names.generation:
            opened = replace(opened, names=replace(opened.names, generation=claim.generation))
        self._presence.working_on(job_id)
        lease = Lease(
            self._runtime.ledger,
            job_id,
            claim.rows,
            token,
            seconds=self._runtime.settings.lease_seconds,
            claimed=claimed,
            draining=self._runtime.draining,
            stall_seconds=self._runtime.settings.stall_seconds,
            drain_seconds=self._runtime.settings.drain_seconds,
        )
        try:
            with self._faults(lease), ExitStack() as stack:
                stack.enter_context(lease)
                work = self._compute(opened, lease, claim)
                # One at a time: what was computed but not committed must stay little.
                self._await_commit()
                kept = stack.pop_all()
                self._committing = self._commits.submit(self._commit, opened, lease, work, kept)
        finally:
            self._presence.working_on(None)

    def _compute(self, opened: OpenJob, lease: Lease, claim: Claim) -> Work:
        if not isinstance(opened.kind, TrainingKind):
            return self._computer.compute(opened, lease, claim)
        # Another process needs the device now, whole.
        self._open.clear()
        self._cache.clear()
        self._presence.holding(())
        return self._trainer.compute(opened, lease, claim)

    def _commit(self, opened: OpenJob, lease: Lease, work: Work, kept: ExitStack) -> None:
        """Commit in the background, while the next range is computed."""
        with self._faults(lease), kept:
            self._committer.commit(opened, lease, work)

    def _await_commit(self) -> None:
        """Wait for the commit that is on its way."""
        committing, self._committing = self._committing, None
        if committing is not None:
            committing.result()

    @contextmanager
    def _faults(self, lease: Lease) -> Iterator[None]:
        """Give the range back whatever goes wrong with it, and fail the job where it is to blame."""
        ledger = self._runtime.ledger
        try:
            yield
        except (LeaseLost, JobStopped) as stop:
            log.info("dropped", job=lease.job_id, rows=str(lease.rows), reason=type(stop).__name__)
            give_back(ledger, lease.job_id, lease.rows, lease.token)
        except TrainingDied as died:
            log.warning("training died", job=lease.job_id, reason=str(died))
            give_back(ledger, lease.job_id, lease.rows, lease.token, death=True)
        except (JobFailure, InvalidRequest) as failure:
            fail_job(self._runtime, lease.job_id, failure)
            give_back(ledger, lease.job_id, lease.rows, lease.token)
        except (DamagedPart, ObjectMissing) as error:
            reason = f"what was planned cannot be read back: {error}"
            fail_job(self._runtime, lease.job_id, JobFailure("internal_error", reason))
            give_back(ledger, lease.job_id, lease.rows, lease.token)
        except Unavailable as error:
            log.warning("cut off", job=lease.job_id, rows=str(lease.rows), reason=error.detail)
            give_back(ledger, lease.job_id, lease.rows, lease.token)
            self._cut_off = True

    def _opened(self, job_id: str) -> OpenJob:
        opened = self._open.get(job_id)
        if opened is None:
            self._check_openings(job_id)
            opened = self._prepare(job_id)
            self._forget_evicted()
            self._open[job_id] = opened
            while len(self._open) > _OPEN_JOBS:
                self._open.popitem(last=False)
        self._open.move_to_end(job_id)
        return opened

    def _check_openings(self, job_id: str) -> None:
        """Fail a job whose very opening kills its workers: no claim would ever say so."""
        before = self._runtime.ledger.ranges.open(job_id)
        if before >= _MOST_OPENINGS * self._runtime.ledger.workers.count():
            raise JobFailure(
                "worker_lost", f"{before} workers ended while they made ready for this job"
            )

    def _settled(self, names: JobNames, owner: str, base: ModelRef) -> ModelRef:
        """The base of the job's adapter: what the first worker that asked found it to stand for."""
        store = self._runtime.store
        known = object_or_none(store, names.base)
        if known is None:
            pinned = str(self._files.pinned_base(owner, base))
            store.put_once(names.base, orjson.dumps({"ref": pinned}))
            known = store.get(names.base)  # another worker's, where that came first
        return ModelRef.parse(orjson.loads(known)["ref"])

    def _forget_evicted(self) -> None:
        """Let go of jobs whose model the cache gave up: its memory is free only once nobody holds it."""
        for job_id, opened in list(self._open.items()):
            if opened.model_key and not self._cache.holds(opened.model):
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
        if isinstance(kind, TrainingKind):
            state: Any = self._training_base(job, names)
        elif kind.needs_model and job.model is not None:
            started = time.monotonic()
            plan = Plan.model_validate_json(self._runtime.store.get(names.plan))
            model_key = plan.model or job.model_key
            owner = job.model_owner
            source = self._files.source(
                owner, ModelRef.parse(model_key), lambda base: self._settled(names, owner, base)
            )
            if source.adapter is not None and not kind.loads_weights:
                # Such a kind handles files and computes nothing: the adapter itself is what it asks for.
                source = Source(key=model_key, folder=source.adapter.folder)
            with kind_faults(kind):
                use = ModelUse(source.key, source.folder, kind, params, names, source.adapter)
                ready = self._engines.ready(use)
            model, state = ready.model, ready.state
            self._presence.holding(self._cache.resident())
            facts = {**job.model, "ref": model_key, **ready.facts}
            if source.adapter is not None:
                facts["base"] = source.key
            self._runtime.ledger.jobs.set_model(job_id, facts, resident=source.key)
            log.info("model ready", model=model_key, seconds=round(time.monotonic() - started, 1))
        else:
            with kind_faults(kind):
                state = kind.prepare(model, params, RunContext(device=self._device))
        holds = self._files.disk.taken()
        return OpenJob(job, names, kind, params, model_key, model, state, holds)

    def _training_base(self, job: SubmittedJob, names: JobNames) -> TrainingBase:
        """What a training starts from, brought to this host but not into memory."""
        if job.model is None:
            return TrainingBase(None, "")
        plan = Plan.model_validate_json(self._runtime.store.get(names.plan))
        reference = plan.model or job.model_key
        ref = ModelRef.parse(reference)
        return TrainingBase(self._files.trainable(job.model_owner, ref), reference)
