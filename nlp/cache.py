"""Loaded models, kept within a byte budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import Kind, LoadedModel, LoadOptions, Precision
from nlp.batching import is_out_of_memory, release_memory
from nlp.files import weight_count

#: Content key, kind, engine, precision.
_Key = tuple[str, str, str, Precision]


class ModelCache:
    """The models that one device holds, least recently used out first. Safe to use from many threads.

    Evicting a model drops the cache's own reference: its memory is free once no run uses it any more.
    """

    def __init__(self, budget_bytes: int, device: Device) -> None:
        self._budget = budget_bytes
        self._device = device
        self._models: OrderedDict[_Key, LoadedModel] = OrderedDict()
        self._state = threading.Lock()
        self._loading = (
            threading.Lock()
        )  # one load at a time: two could overrun the budget together

    def get(self, key: str, kind: Kind, files: Path, how: LoadOptions) -> LoadedModel:
        """The model with this content key, loaded for ``kind`` from ``files`` unless it is held already.

        Raises:
            JobFailure: ``model_too_large`` for the budget or the device, or whatever ``kind.load`` raises.
        """
        slot = (key, kind.name, how.engine, how.precision)
        model = self._held(slot)
        if model is not None:
            return model
        with self._loading:
            model = self._held(slot)
            if model is not None:
                return model
            weighs = kind.needs_model and kind.loads_weights
            self._make_room(self._estimate(files, how.precision) if weighs else 0)
            model = self._load(kind, files, how)
            # The estimate may have been too low: the budget holds for what was really taken.
            self._make_room(model.memory_bytes)
            with self._state:
                self._models[slot] = model
            return model

    def resident(self) -> tuple[str, ...]:
        """Content keys of the models held now, least recently used first, each once."""
        with self._state:
            return tuple(dict.fromkeys(key for key, *_ in self._models))

    def clear(self) -> None:
        """Drop every model, such as before training needs the device."""
        with self._loading:
            with self._state:
                self._models.clear()
            release_memory()

    def _held(self, slot: _Key) -> LoadedModel | None:
        with self._state:
            model = self._models.get(slot)
            if model is not None:
                self._models.move_to_end(slot)
            return model

    def _load(self, kind: Kind, files: Path, how: LoadOptions) -> LoadedModel:
        try:
            return kind.load(files, how)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler: its traceback would keep the half-loaded weights alive.
        with self._state:
            self._models.clear()
        release_memory()
        try:
            return kind.load(files, how)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise JobFailure(
                "model_too_large",
                f"The model does not fit into the memory of {self._device.name}, even alone.",
            ) from None

    def _make_room(self, needed: int) -> None:
        """Evict until ``needed`` more bytes fit."""
        if needed > self._budget:
            raise JobFailure(
                "model_too_large",
                f"The model takes {_mib(needed)}; {self._device.name} has {_mib(self._budget)} for "
                "models.",
            )
        evicted = False
        with self._state:
            while self._models and self._used() + needed > self._budget:
                self._models.popitem(last=False)
                evicted = True
        if evicted:
            release_memory()

    def _used(self) -> int:
        return sum(model.memory_bytes for model in self._models.values())

    def _estimate(self, files: Path, precision: Precision) -> int:
        from nlp.precision import compute_dtype  # noqa: PLC0415  (torch, only where a model is loaded)

        return weight_count(files) * compute_dtype(self._device, precision).itemsize


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
