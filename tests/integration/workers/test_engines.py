"""Engines on a real store: measured once, remembered, kept by the job; conversions made once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before the first import of transformers

from jobs.kinds import KindRegistry, LoadOptions
from jobs.names import CONVERSIONS, ENGINES
from jobs.settings import Settings
from jobs.spec import JobSpec
from jobs.states import Status
from nlp.cache import ModelCache
from nlp.engines.measuring import Trials
from nlp.kinds.summarize import Summarize
from storage.broker import Broker, make_celery
from tests.integration.workers.workshop import CPU, TENANT, Workshop
from tests.unit.nlp.families import save_family
from tests.unit.nlp.tinymodels import TEXTS
from workers.conversions import Conversions
from workers.disk_cache import DiskCache
from workers.presence import Presence
from workers.runtime import Runtime
from workers.work import ModelWorker


class Summaries:
    """Jobs of one kind over one model, and workers that come and go."""

    def __init__(self, settings: Settings, root: Path) -> None:
        self.app = make_celery(settings)
        self.root = root
        self.shop = Workshop(settings, Broker(self.app))
        self.model = save_family(root / "model", "bart", num_beams=1)
        self.workers = 0

    def new_worker(self) -> ModelWorker:
        """A worker with nothing in memory and nothing on its disk."""
        self.workers += 1
        folder = self.root / f"disk{self.workers}"
        settings = self.shop.runtime.settings.model_copy(
            update={"model_cache_dir": folder, "allow_file_models": True}
        )
        runtime = Runtime(
            settings=settings,
            store=self.shop.store,
            ledger=self.shop.ledger,
            broker=self.shop.broker,
            kinds=KindRegistry([Summarize()]),
            device=CPU,
        )
        self.shop.runtime = runtime  # its planner and finalizer know the kind too
        return ModelWorker(runtime, ModelCache(1 << 30, CPU), Presence(runtime, "model"))

    def run(self, worker: ModelWorker, **params: Any) -> dict[str, Any]:
        """A job from its submission to the end; its ``model`` block."""
        body = {
            "kind": "summarize",
            "model": f"file:{self.model}",
            "input": {"items": [{"text": text} for text in TEXTS]},
            "params": {"max_tokens": 12, **params},
        }
        shop = self.shop
        shop.worker = worker
        self.job = shop.submissions.submit(
            TENANT, JobSpec.model_validate(body), {"ref": body["model"]}
        )[0].id
        shop.run(self.job)
        record = shop.record(self.job)
        assert record.model is not None
        if record.status is Status.COMPLETED:
            assert record.completed + record.failed == len(TEXTS)
        return record.model

    def objects(self, prefix: str) -> list[str]:
        return [found.name for found in self.shop.store.list(prefix)]


@pytest.fixture
def summaries(settings_env: dict[str, str], tmp_path: Path) -> Any:
    settings = Settings.from_environment({**settings_env, "TEXTMILL_ALLOW_FILE_MODELS": "true"})
    made = Summaries(settings, tmp_path)
    yield made
    made.shop.ledger.close()
    made.app.close()


def test_engines_are_measured_once_and_the_winner_is_shown(
    summaries: Summaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = summaries.new_worker()
    first = summaries.run(worker)
    assert first["engine_check"] == "passed"
    assert len(worker._cache._models) == 1, "what was only compared is gone"
    passed_over = set(first.get("passed_over", {}))
    assert {*first["measured"], *passed_over} - {"ctranslate2 exact"} == {"torch", "ctranslate2"}
    assert ("ctranslate2 exact" in first["measured"]) == ("ctranslate2" in passed_over), (
        "int8 or fp32"
    )
    fastest = max(first["measured"], key=lambda name: first["measured"][name])
    assert first["engine"] == fastest.removesuffix(" exact")
    assert len(summaries.objects(ENGINES)) == 1
    kept = orjson.loads(summaries.shop.store.get(summaries.shop.names(summaries.job).engine))
    assert kept["given"] == {"engine": first["engine"], "precision": first["precision"]}

    def never(*_: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(Trials, "measure", never)
    again = summaries.run(summaries.new_worker())
    assert again == first


def test_a_job_keeps_the_engine_that_it_began_with(summaries: Summaries) -> None:
    summaries.run(summaries.new_worker(), engine="torch")
    store, names = summaries.shop.store, summaries.shop.names(summaries.job)
    assert orjson.loads(store.get(names.engine))["asked"] == {
        "engine": "torch",
        "precision": "auto",
    }
    # As if it had begun on a machine where another engine was faster.
    worker = summaries.new_worker()
    given = {"engine": "ctranslate2", "precision": "int8"}
    store.put_json(names.engine, {"asked": given, "given": given, "facts": {"note": "kept"}})
    opened = worker._prepare(summaries.job)
    assert dict(opened.model.describe()) == {**opened.model.describe(), **given}


def test_an_engine_may_be_forced(summaries: Summaries) -> None:
    forced = summaries.run(summaries.new_worker(), engine="ctranslate2", precision="exact")
    assert (forced["engine"], forced["precision"]) == ("ctranslate2", "fp32")
    assert forced["engine_check"] == "not made: the job names its engine"
    exact = summaries.run(summaries.new_worker(), precision="exact")
    assert (exact["engine"], exact["precision"]) == ("torch", "fp32")
    assert "measured" not in exact
    assert summaries.objects(ENGINES) == []


def test_an_engine_that_cannot_serve_the_job_fails_it_only_when_it_was_named(
    summaries: Summaries,
) -> None:
    summaries.run(summaries.new_worker(), engine="ctranslate2", temperature=0.8)
    error = summaries.shop.record(summaries.job).error
    assert error is not None
    assert (error["code"], error["field"]) == ("engine_unsupported", "params.engine")
    left = summaries.run(summaries.new_worker(), temperature=0.8)
    assert left["engine"] == "torch"
    assert summaries.shop.record(summaries.job).status is Status.COMPLETED


def test_a_failed_check_falls_back_and_says_so(
    summaries: Summaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differ(*_: Any, **__: Any) -> str:
        return "prompt 0: another answer"

    monkeypatch.setattr(Summarize, "disagreement", differ)
    found = summaries.run(summaries.new_worker())
    assert (found["engine"], found["precision"]) == ("torch", "fp32")
    assert found["engine_check"] == "failed: computing in fp32 instead"
    assert found["passed_over"]["ctranslate2"] == "prompt 0: another answer"


def test_a_conversion_is_made_once_for_all_workers(
    summaries: Summaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    summaries.run(summaries.new_worker(), engine="ctranslate2")
    names = summaries.objects(CONVERSIONS)
    assert {name.rsplit("/", 1)[1] for name in names} >= {"model.bin", "config.json", "_COMPLETE"}

    from nlp.generation import conversion  # noqa: PLC0415

    def never(*_: Any) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(conversion, "_convert", never)
    summaries.run(summaries.new_worker(), engine="ctranslate2")
    assert summaries.shop.record(summaries.job).status is Status.COMPLETED
    assert summaries.objects(CONVERSIONS) == names


def test_a_conversion_without_its_marker_is_made_again(
    summaries: Summaries, tmp_path: Path
) -> None:
    store = summaries.shop.store
    how = LoadOptions(device=CPU, engine="ctranslate2")
    kind = Summarize()
    folder = tmp_path / "conversions"
    conversions = Conversions(store, DiskCache(tmp_path, None))
    with conversions.at_hand(summaries.model, how) as options:
        kind.load(summaries.model, options)
    (marker,) = [name for name in summaries.objects(CONVERSIONS) if name.endswith("_COMPLETE")]
    store.delete(marker)
    shutil.rmtree(folder)
    with conversions.at_hand(summaries.model, how) as options:
        assert not list(folder.glob("*/*"))
        kind.load(summaries.model, options)
    assert marker in summaries.objects(CONVERSIONS)
