"""Which run's outputs an incremental job takes over: chosen once, read before anything is planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import structlog

from jobs.corpora import fingerprint
from jobs.errors import JobFailure
from jobs.kinds import Kind
from jobs.modelref import ModelRef
from jobs.plan import CarryPlan
from storage.corpus import CorpusIndexes, DamagedIndex, IndexRecord, Lookup, Measured
from storage.submission import SubmittedJob
from workers.model_content import content_of
from workers.runtime import Runtime

log = structlog.get_logger(__name__)

_UNKNOWN_MODEL = {
    "code": "model_content_unknown",
    "message": "Nothing tells whether the model is the same as in the run before, so every row was computed.",
}


def indexes_of(runtime: Runtime, job: SubmittedJob) -> CorpusIndexes | None:
    """The indexes of an incremental job's step of its schedule; None for other jobs."""
    origin = job.origin
    if origin is None or not origin.incremental:
        return None
    return CorpusIndexes(runtime.store, job.tenant, origin.schedule, origin.step)


class Bases:
    """The run before, of one job's planner. Use it as a context.

    Args:
        runtime: of the planner.
        job: that is planned.
        check: called now and then; raises to give up.
    """

    def __init__(self, runtime: Runtime, job: SubmittedJob, check: Callable[[], None]) -> None:
        self._runtime = runtime
        self._job = job
        self._check = check
        self._indexes = indexes_of(runtime, job)
        #: What was read, and of which plan.
        self._read: tuple[CarryPlan, Lookup] | None = None
        self.warnings: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def choose(self, kind: Kind, params: Any, model: str | None) -> CarryPlan | None:
        """What the job takes over, from the newest run whose index can be read to its end; None where it is not
        incremental. From here on that index is kept for it.

        Raises:
            ScratchFull: the local disk is full.
            Unavailable: the store is away.
        """
        origin = self._job.origin
        if self._indexes is None or origin is None or not kind.carries:
            return None
        content = None if model is None else self._content(model)
        unknown = model is not None and content is None
        # Under a name of the job's own what cannot be told apart is like nothing before it, and nothing after it.
        mark = f"{self._job.id} " if unknown else ""
        recipe = fingerprint(kind, params, model, mark + (content or ""))
        for record in self._indexes.newest(but=origin.run):
            plan = CarryPlan(
                fingerprint=recipe,
                content=content,
                base=record.key,
                base_job=record.job,
                base_run=record.run,
                takes=not origin.full and record.fingerprint == recipe,
            )
            self._indexes.pin(self._job.id, record.key)
            try:
                self._load(plan, record)
            except DamagedIndex as error:
                # Whoever comes next is not to meet it again.
                log.warning("index damaged", job=self._job.id, reason=str(error))
                self._indexes.remove(record.key)
                continue
            return plan
        plan = CarryPlan(fingerprint=recipe, content=content)
        self._load(plan, None)
        return plan

    def lookup(self, plan: CarryPlan) -> Lookup:
        """The index that a plan names, ready to be asked.

        Raises:
            JobFailure: it is not there any more, or damaged (``base_lost``).
            ScratchFull: the local disk is full.
            Unavailable: the store is away.
        """
        if plan.content is None and self._job.model is not None:
            self.warnings = [_UNKNOWN_MODEL]
        if self._read is not None and self._read[0] == plan:
            return self._read[1]
        record = None
        if plan.base is not None and self._indexes is not None:
            # Whoever wrote the plan pinned it, and so did others what they chose instead: the last one counts.
            self._indexes.pin(self._job.id, plan.base)
            record = self._indexes.find(plan.base)
            if record is None:
                raise _lost(plan, "it is not there any more")
        try:
            return self._load(plan, record)
        except DamagedIndex as error:
            raise _lost(plan, str(error)) from None

    def measured(self, plan: CarryPlan | None) -> Measured | None:
        """What rows cost in the last runs, where they were computed in the way of this plan."""
        if plan is None or plan.base is None or self._indexes is None:
            return None
        record = self._indexes.find(plan.base)
        same = record is not None and record.fingerprint == plan.fingerprint
        return record.measured if record is not None and same else None

    def _load(self, plan: CarryPlan, record: IndexRecord | None) -> Lookup:
        self._forget()
        lookup = Lookup()
        try:
            if record is not None and self._indexes is not None:
                lookup.load(self._indexes, record, outputs=plan.takes, check=self._check)
        except BaseException:
            lookup.close()
            raise
        self._read = (plan, lookup)
        return lookup

    def _forget(self) -> None:
        if self._read is not None:
            self._read[1].close()
            self._read = None

    def _content(self, model: str) -> str | None:
        return content_of(self._runtime, self._job.model_owner, ModelRef.parse(model))


def _lost(plan: CarryPlan, reason: str) -> JobFailure:
    # To go on without it would cut the rest of the input into other shards than were begun.
    return JobFailure(
        "base_lost",
        f"the index of run {plan.base_run}, from which outputs were to be taken over, cannot be read: {reason}. "
        "The next run of the schedule does without it",
    )
