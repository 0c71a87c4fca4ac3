"""What a job's plan fixes before anything is cut: the objects that are read, the model, the size of shards, and the run
before."""

from __future__ import annotations

from typing import Any

from jobs.kinds import Kind
from jobs.modelref import ModelRef
from jobs.names import JobNames
from jobs.plan import CutRule, Plan, ShardLimits, Source, cut_rule
from jobs.training import TrainingKind
from storage.plans import find_plan, keep_plan
from storage.submission import SubmittedJob
from workers.bases import Bases
from workers.model_files import ModelFiles
from workers.role import Replaced
from workers.runtime import Runtime
from workers.sources import pin_sources
from workers.training_data import pin_files


class Settling:
    """Makes the plan of one job, once.

    Args:
        runtime: of the planner.
        job: that is planned.
        names: of the job.
        bases: the run before, of an incremental one.
    """

    def __init__(self, runtime: Runtime, job: SubmittedJob, names: JobNames, bases: Bases) -> None:
        self._runtime = runtime
        self._job = job
        self._names = names
        self._bases = bases

    def plan(self, kind: Kind, params: Any, *, fresh: bool) -> Plan:
        """The plan that an earlier planner wrote, or a new one, which is written now.

        Args:
            kind: of the job.
            params: of the job.
            fresh: whether nobody can have planned it before.

        Raises:
            JobFailure: its input or its model is not there, or cannot be used.
            Replaced: the job was deleted meanwhile.
            Unavailable: store, ledger or a model hub are away.
        """
        store = self._runtime.store
        known = None if fresh else find_plan(store, self._names)
        if known is not None:
            return known
        spec = self._job.spec
        model = self._model()
        carry = self._bases.choose(kind, params, model)
        most = self._runtime.settings.max_input_objects
        pinned = pin_sources(store, self._job.tenant, spec.input, most_objects=most)
        files: dict[str, list[Source]] = {}
        if isinstance(kind, TrainingKind):
            files = pin_files(store, self._job.tenant, spec.input, kind, params)
        plan = Plan(
            sources=pinned.sources,
            cut=self._rule(pinned.sources),
            model=model,
            files=files,
            carry=carry,
            skipped=pinned.skipped,
        )
        if keep_plan(store, self._names, plan):
            if model is not None:
                facts = {**(self._job.model or {}), "ref": model}
                self._runtime.ledger.jobs.set_model(self._job.id, facts)
            return plan
        known = find_plan(store, self._names)
        if known is None:
            raise Replaced  # the job was deleted meanwhile
        return known

    def _rule(self, sources: list[Source]) -> CutRule:
        spec, settings = self._job.spec, self._runtime.settings
        workers = self._runtime.ledger.workers
        limits = ShardLimits(
            max_rows=settings.shard_max_rows,
            max_bytes=settings.shard_max_bytes,
            seconds=settings.shard_seconds,
            workers=workers.count(),
        )
        return cut_rule(
            limits,
            total_rows=None if spec.input.items is None else len(spec.input.items),
            total_bytes=sum(source.size for source in sources) if sources else None,
            bytes_per_second=workers.slowest_speed(spec.kind, self._job.model_key),
        )

    def _model(self) -> str | None:
        """The model's reference with its revision fixed, so that every shard is computed by the same one."""
        model = self._job.model
        if model is None:
            return None
        return str(ModelFiles(self._runtime).pin(ModelRef.parse(model["ref"])))
