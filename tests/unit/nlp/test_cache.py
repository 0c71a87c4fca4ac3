"""The model cache: budget, order of eviction, threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from jobs.errors import JobFailure
from jobs.kinds import Kind, LoadedModel, LoadOptions, RunContext
from jobs.rows import Outcome, Row, Success
from nlp.cache import ModelCache
from nlp.files import weight_count
from nlp.kinds.classify import Classify
from tests.unit.nlp.tinymodels import AUTO, CPU, EXACT, save_classifier


class Weights(LoadedModel):
    def __init__(self, size: int) -> None:
        self.size = size

    @property
    def memory_bytes(self) -> int:
        return self.size

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "none"}


class Sized(Kind):
    """A kind whose models are as large as their folder's name says. Loading takes a moment."""

    name: ClassVar[str] = "sized"
    summary: ClassVar[str] = "For tests."
    needs_model: ClassVar[bool] = False

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.loading = 0

    def load(self, files: Path, how: LoadOptions) -> LoadedModel:
        self.loading += 1
        assert self.loading == 1, "two loads at a time"
        time.sleep(0.01)
        self.loads.append(files.name)
        self.loading -= 1
        return Weights(int(files.name))

    def run(
        self, model: Any, state: Any, rows: Sequence[Row], params: Any, context: RunContext
    ) -> list[Outcome]:
        return [Success({}) for _ in rows]


def test_the_least_recently_used_model_goes_first() -> None:
    kind, cache = Sized(), ModelCache(100, CPU)
    first = cache.get("a", kind, Path("40"), AUTO)
    cache.get("b", kind, Path("50"), AUTO)
    assert cache.get("a", kind, Path("40"), AUTO) is first
    assert cache.resident() == ("b", "a")
    cache.get("c", kind, Path("60"), AUTO)
    assert cache.resident() == ("a", "c")
    assert kind.loads == ["40", "50", "60"]


def test_a_model_that_is_of_no_more_use_makes_room() -> None:
    kind, cache = Sized(), ModelCache(100, CPU)
    first = cache.get("a", kind, Path("40"), AUTO)
    cache.get("b", kind, Path("50"), AUTO)
    cache.drop(first)
    cache.drop(first)
    assert (cache.resident(), cache.used_bytes) == (("b",), 50)
    assert cache.get("a", kind, Path("40"), AUTO) is not first


def test_precisions_are_models_of_their_own() -> None:
    kind, cache = Sized(), ModelCache(100, CPU)
    cache.get("a", kind, Path("40"), AUTO)
    cache.get("a", kind, Path("40"), EXACT)
    assert kind.loads == ["40", "40"]
    assert cache.resident() == ("a",)
    cache.clear()
    assert cache.resident() == ()


def test_threads_share_one_load() -> None:
    kind, cache = Sized(), ModelCache(100, CPU)
    start = threading.Barrier(8)

    def get(number: int) -> LoadedModel:
        start.wait()
        return cache.get(f"key {number % 2}", kind, Path("30"), AUTO)

    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(get, range(8)))
    assert len({id(model) for model in models}) == 2
    assert len(kind.loads) == 2


def test_a_model_beyond_the_budget_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "model", ["a", "b"])
    size = weight_count(folder) * 4
    with pytest.raises(JobFailure, match="MiB") as caught:
        ModelCache(size - 1, CPU).get("key", Classify(), folder, EXACT)
    assert caught.value.failure_code == "model_too_large"
    cache = ModelCache(size + 1024, CPU)
    model = cache.get("key", Classify(), folder, EXACT)
    # Buffers such as position ids are not stored in files.
    assert size <= model.memory_bytes <= size + 1024
    assert model.describe()["architecture"] == "BertForSequenceClassification"
    assert model.describe()["precision"] == "fp32"


def test_models_that_turn_out_larger_than_said_are_not_kept_over_budget() -> None:
    kind, cache = Sized(), ModelCache(100, CPU)
    cache.get("a", kind, Path("40"), AUTO)
    with pytest.raises(JobFailure):
        cache.get("b", kind, Path("101"), AUTO)
    assert cache.resident() == ("a",)
