"""Loaded models, kept within a byte budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import Kind, LoadedModel, LoadOptions, Precision
from nlp.batching import is_out_of_memory, release_memory
from nlp.files import file_bytes, weight_count

log = structlog.get_logger(__name__)

#: Bytes of a weight in formats that are named.
_SIZES: Mapping[Precision, int] = {"exact": 4, "fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}


@dataclass(frozen=True, kw_only=True)
class AdapterFiles:
    """An adapter over a base model."""

    key: str  #: content key
    folder: Path


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """What tells two loaded models apart."""

    key: str
    kind: str
    engine: str
    precision: Precision
    adapter: str | None = None

    @property
    def base(self) -> _Slot:
        """That of the model below the adapter."""
        return replace(self, adapter=None)


@dataclass(frozen=True)
class _Held:
    model: LoadedModel
    bytes: int  #: an adapter's own; its base counts once, whatever is over it


class ModelCache:
    """The models that one device holds, least recently used out first. Safe to use from many threads.

    Evicting a model drops the cache's own reference: its memory is free once no run uses it any more. A base goes
    only after all adapters over it.
    """

    def __init__(self, budget_bytes: int, device: Device) -> None:
        self._budget = budget_bytes
        self._device = device
        self._models: OrderedDict[_Slot, _Held] = OrderedDict()
        self._state = threading.Lock()
        self._loading = (
            threading.Lock()
        )  # one load at a time: two could overrun the budget together

    def get(
        self,
        key: str,
        kind: Kind,
        files: Path,
        how: LoadOptions,
        adapter: AdapterFiles | None = None,
    ) -> LoadedModel:
        """The model with this content key, loaded for ``kind`` from ``files`` unless it is held already.

        Args:
            adapter: what is wanted over it; all adapters over one model share its memory.

        Raises:
            JobFailure: ``model_too_large`` for the budget or the device, or whatever ``kind.load`` raises.
        """
        slot = _Slot(
            key=key,
            kind=kind.name,
            engine=how.engine,
            precision=how.precision,
            adapter=None if adapter is None else adapter.key,
        )
        held = self._held(slot)
        if held is not None:
            return held.model
        with self._loading:
            base = self._held(slot.base) or self._loaded_base(slot.base, kind, files, how)
            if adapter is None:
                return base.model
            held = self._held(slot) or self._loaded_adapter(slot, base, adapter, files)
            return held.model

    def resident(self) -> tuple[str, ...]:
        """Content keys of the models and adapters held now, least recently used first, each once."""
        with self._state:
            return tuple(dict.fromkeys(slot.adapter or slot.key for slot in self._models))

    def holds(self, model: LoadedModel) -> bool:
        """Whether this very model is one that the cache holds now."""
        with self._state:
            return any(held.model is model for held in self._models.values())

    @property
    def used_bytes(self) -> int:
        """Bytes of the budget that are taken."""
        with self._state:
            return self._used()

    def drop(self, model: LoadedModel) -> None:
        """Let go of one model that is of no more use, and of what is over it."""
        with self._state:
            slots = [slot for slot, held in self._models.items() if held.model is model]
            for slot in [other for other in self._models if other in slots or other.base in slots]:
                del self._models[slot]
        release_memory()

    def clear(self) -> None:
        """Drop every model, such as before training needs the device."""
        with self._loading:
            self._drop_all()

    def _held(self, slot: _Slot) -> _Held | None:
        with self._state:
            held = self._models.get(slot)
            if held is not None:
                self._touch(slot)
            return held

    def _touch(self, slot: _Slot) -> None:
        """Now used last; a base always later than what is over it."""
        self._models.move_to_end(slot)
        self._models.move_to_end(slot.base)

    def _loaded_base(self, slot: _Slot, kind: Kind, files: Path, how: LoadOptions) -> _Held:
        weighs = kind.needs_model and kind.loads_weights
        self._make_room(self._estimate(files, how.precision) if weighs else 0)
        model = self._load(lambda: kind.load(files, how), self._drop_all)
        # The estimate may have been too low: the budget holds for what was really taken.
        return self._keep(slot, model)

    def _loaded_adapter(
        self, slot: _Slot, base: _Held, adapter: AdapterFiles, files: Path
    ) -> _Held:
        self._make_room(file_bytes(adapter.folder), beside=base.bytes)
        model = self._load(
            lambda: base.model.adapted(adapter.folder, files),
            lambda: self._drop_all(but=slot.base),
        )
        return self._keep(slot, model, beside=base.bytes)

    def _keep(self, slot: _Slot, model: LoadedModel, beside: int = 0) -> _Held:
        held = _Held(model, model.memory_bytes)
        self._make_room(held.bytes, beside=beside)
        with self._state:
            self._models[slot] = held
            self._touch(slot)
        log.info(
            "model loaded", model=slot.key, adapter=slot.adapter, kind=slot.kind, bytes=held.bytes
        )
        return held

    def _load(self, load: Callable[[], LoadedModel], clear: Callable[[], None]) -> LoadedModel:
        try:
            return load()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler: its traceback would keep the half-loaded weights alive.
        clear()
        try:
            return load()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise JobFailure(
                "model_too_large",
                f"The model does not fit into the memory of {self._device.name}, even alone.",
            ) from None

    def _drop_all(self, but: _Slot | None = None) -> None:
        with self._state:
            for slot in [slot for slot in self._models if slot != but]:
                del self._models[slot]
        release_memory()

    def _make_room(self, needed: int, beside: int = 0) -> None:
        """Evict until ``needed`` more bytes fit, beside the base of so many that was used last."""
        if beside + needed > self._budget:
            raise JobFailure(
                "model_too_large",
                f"The model takes {_mib(beside + needed)}; {self._device.name} has "
                f"{_mib(self._budget)} for models.",
            )
        evicted = False
        with self._state:
            while self._models and self._used() + needed > self._budget:
                self._models.popitem(last=False)
                evicted = True
        if evicted:
            release_memory()

    def _used(self) -> int:
        return sum(held.bytes for held in self._models.values())

    def _estimate(self, files: Path, precision: Precision) -> int:
        size = _SIZES.get(precision)
        if size is None:
            from nlp.precision import compute_dtype  # noqa: PLC0415  (torch, only for loading)

            size = compute_dtype(self._device, precision).itemsize
        return weight_count(files) * size


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
