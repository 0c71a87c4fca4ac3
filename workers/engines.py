"""Which engine a job's model runs on here: as the job began, as it asks for, as remembered, or as measured now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import structlog

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import Kind, KindParams, LoadedModel, LoadOptions, Precision, RunContext
from jobs.names import ENGINES, JobNames
from jobs.rows import Row
from nlp.cache import AdapterFiles, ModelCache
from nlp.engines.choice import Measurement, Way, candidates, faults, ranked, speeds
from nlp.files import fingerprint
from storage.objects import ObjectMissing, ObjectStore
from storage.parts import iterate_shard
from workers.conversions import Conversions
from workers.disk_cache import DiskCache

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Plan:
    """Ways to try, best first, and what the job's ``model`` block says of how they came about."""

    ways: Sequence[Way]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Kept:
    """What a job began with."""

    asked: Way
    precision: Precision  #: what came of it there
    facts: dict[str, Any]


@dataclass(frozen=True)
class ReadyModel:
    """A model, loaded and prepared for a job."""

    model: LoadedModel
    state: Any
    way: Way  #: as it was asked for
    facts: dict[str, Any]  #: for the job's ``model`` block


@dataclass(frozen=True)
class ModelUse:
    """What a model is wanted for."""

    key: str  #: what the cache knows it by
    files: Path
    kind: Kind
    params: KindParams
    names: JobNames
    adapter: AdapterFiles | None = None


class Engines:
    """Loads models in the way that is right and fastest on this worker's device."""

    def __init__(
        self, store: ObjectStore, cache: ModelCache, device: Device, disk: DiskCache
    ) -> None:
        self._store = store
        self._cache = cache
        self._device = device
        self._disk = disk
        self._conversions = Conversions(store, disk)

    def ready(self, use: ModelUse) -> ReadyModel:
        """Load the model for a job and prepare it, in the first way that can serve the job.

        Raises:
            JobFailure: no way can; or model and parameters do not fit.
            Unavailable: the store is away.
        """
        kept = self._kept(use)
        if kept is None:
            plan = self._plan(use)
            ready = self._first(use, plan.ways, plan.facts)
            # Whoever writes first decides for all workers of the job.
            return ready if self._keep(use, ready) else self.ready(use)
        try:
            return self._first(use, [kept.asked], kept.facts, kept.precision)
        except JobFailure as failure:
            if failure.failure_code != "engine_unsupported" or use.params.engine != "auto":
                raise
        # Begun on another kind of machine, whose engine does not run on this one.
        plan = self._plan(use)
        return self._first(use, plan.ways, plan.facts)

    def _first(
        self,
        use: ModelUse,
        ways: Sequence[Way],
        facts: Mapping[str, Any],
        precision: Precision | None = None,
    ) -> ReadyModel:
        """The first way that can serve the job; in this precision, where one is given."""
        refused: JobFailure | None = None
        for way in ways:
            try:
                model = self._load(use, way)
                if precision not in {None, model.describe().get("precision")}:
                    model = self._load(use, replace(way, precision=precision))
                model.activate()
                state = use.kind.prepare(model, use.params, RunContext(device=self._device))
            except JobFailure as failure:
                if failure.failure_code != "engine_unsupported":
                    raise
                log.warning("engine passed over", engine=way.engine, reason=failure.detail)
                refused = failure
                continue
            warned = {"engine_warning": refused.detail} if refused else {}
            return ReadyModel(model, state, way, {**facts, **warned, **model.describe()})
        raise refused or JobFailure("engine_unsupported", "No engine can run this model.")

    def _load(self, use: ModelUse, way: Way) -> LoadedModel:
        how = LoadOptions(device=self._device, precision=way.precision, engine=way.engine)
        with self._conversions.at_hand(use.files, how) as options:
            # Where it is converted first, that takes room on the disk.
            return self._disk.with_room(
                lambda: self._cache.get(use.key, use.kind, use.files, options, use.adapter)
            )

    # --- what to try -----------------------------------------------------------------------------

    def _plan(self, use: ModelUse) -> _Plan:
        if use.params.engine != "auto":
            way = Way(use.params.engine, use.params.precision)
            return _Plan([way], {"engine_check": "not made: the job names its engine"})
        exact = Way(use.kind.engines[0], "exact")
        if use.params.precision == "exact":
            return _Plan([exact])
        if use.adapter is not None:
            return _Plan([Way(use.kind.engines[0], "auto")])  # adapters share a base in torch
        from nlp.engines.machine import usable_engines  # noqa: PLC0415  (torch)

        engines = usable_engines(use.kind.engines, self._device)
        ways = candidates(engines, reduced=self._reduced())
        if len(ways) == 1 or not use.kind.loads_weights:
            return _Plan(ways)
        measured = self._remembered(use) or self._measured(use, ways)
        if measured is None:
            return _Plan(
                [ways[0]],
                {"engine_check": "not made: no rows to try it with, or no room for the reference"},
            )
        facts: dict[str, Any] = {"engine_check": "passed", "measured": speeds(measured)}
        passed_over = faults(measured)
        if passed_over:
            facts["passed_over"] = passed_over
        if all(one.fault is not None for one in measured):
            facts["engine_check"] = "failed: computing in fp32 instead"
        return _Plan(ranked(measured, exact), facts)

    def _reduced(self) -> bool:
        """Whether torch by itself computes in less than fp32 here."""
        import torch  # noqa: PLC0415  (only where models are loaded)

        from nlp.precision import compute_dtype  # noqa: PLC0415

        return compute_dtype(self._device, "auto") is not torch.float32

    # --- measuring, once for each model, kind, way to search and kind of machine -----------------

    def _place(self, use: ModelUse) -> tuple[str, dict[str, str]]:
        from nlp.engines.machine import machine_facts, machine_key  # noqa: PLC0415  (torch)

        facts = machine_facts(self._device)
        kind = "-".join(filter(None, (use.kind.name, use.kind.search(use.params))))
        name = f"{ENGINES}{fingerprint(use.files)}/{kind}/{machine_key(facts)}.json"
        return name, facts

    def _remembered(self, use: ModelUse) -> list[Measurement] | None:
        try:
            record = orjson.loads(self._store.get(self._place(use)[0]))
        except (ObjectMissing, orjson.JSONDecodeError):
            return None
        found = [Measurement.of(one) for one in record.get("measured", [])]
        known = [one for one in found if one is not None]
        return known if known and len(known) == len(found) else None

    def _measured(self, use: ModelUse, ways: Sequence[Way]) -> list[Measurement] | None:
        from nlp.engines.measuring import MOST_ROWS, Trials  # noqa: PLC0415

        rows = self._first_rows(use.names, MOST_ROWS)
        if not rows:
            return None
        context = RunContext(device=self._device)
        loaded: dict[Way, LoadedModel] = {}

        def load(way: Way) -> LoadedModel:
            loaded[way] = self._load(use, way)
            return loaded[way]

        measured: list[Measurement] = []
        try:
            measured = Trials(use.kind, use.params, rows, context, load).measure(ways)
        except JobFailure as failure:
            if failure.failure_code != "model_too_large":
                raise
            log.warning("engines not compared", kind=use.kind.name, reason=failure.detail)
            return None
        finally:
            # The reference and the ways that lost only take the room of other models.
            best = ranked(measured, ways[0])[0]
            for way, model in loaded.items():
                if way != best:
                    self._cache.drop(model)
        name, facts = self._place(use)
        record = {"machine": facts, "measured": [one.record() for one in measured]}
        self._store.put_json(name, record)
        for one in measured:
            log.info(
                "engine measured",
                kind=use.kind.name,
                engine=one.way.engine,
                precision=one.way.precision,
                rows_per_second=round(one.rows_per_second, 2),
                fault=one.fault,
            )
        return measured

    def _first_rows(self, names: JobNames, count: int) -> list[Row]:
        """Rows of the first shard that was planned."""
        first = next(iter(self._store.list(names.shards)), None)
        rows: list[Row] = []
        for row in iterate_shard(self._store.get(first.name)) if first else ():
            if isinstance(row, Row):
                rows.append(row)
            if len(rows) == count:
                break
        return rows

    # --- what the job began with -----------------------------------------------------------------

    def _kept(self, use: ModelUse) -> _Kept | None:
        try:
            found = orjson.loads(self._store.get(use.names.engine))
        except (ObjectMissing, orjson.JSONDecodeError):
            return None
        asked, given = Way.of(found.get("asked")), Way.of(found.get("given"))
        if asked is None or given is None:
            return None  # written by a version that knew more
        return _Kept(asked, given.precision, found.get("facts") or {})

    def _keep(self, use: ModelUse, ready: ReadyModel) -> bool:
        """Write down what the job begins with, unless somebody did."""
        given = Way.of(ready.model.describe())
        if given is None:
            return True  # a kind of its own mind about precisions
        record = {"asked": asdict(ready.way), "given": asdict(given), "facts": ready.facts}
        return self._store.put_once(use.names.engine, orjson.dumps(record))
