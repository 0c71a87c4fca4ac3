"""Models in the memory of two workers, on a stack of its own: what is loaded how often, and what is too large."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from transformers import AutoModelForSequenceClassification

from nlp.files import weight_count
from storage.ledger.ranges import RESIDENCY_PATIENCE_MS
from tests.integration.stack.dialogue import outcome
from tests.integration.stack.running import TEST_SETTINGS, RunningStack
from tests.unit.nlp.loras import save_adapter
from tests.unit.nlp.tinymodels import TEXTS, save_classifier
from textmill import Job, JobFailed, Textmill

JOBS = 20


class ScantStack(RunningStack):
    """A stack with little memory for models."""

    holds_both = False  #: whether that takes two small ones


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classifiers ``one`` and ``two`` of one size, ``large`` of another, three adapters over ``one``."""
    root = tmp_path_factory.mktemp("models")
    save_classifier(root / "one", ["a", "b"])
    save_classifier(root / "two", ["c", "d"])
    save_classifier(root / "large", [f"label {n}" for n in range(2000)])
    for number in range(3):
        save_adapter(
            AutoModelForSequenceClassification.from_pretrained(root / "one"),
            root / f"adapter-{number}",
            number,
            task_type="SEQ_CLS",
            target_modules=["query"],
        )
        path = root / f"adapter-{number}" / "adapter_config.json"
        config = {**orjson.loads(path.read_bytes()), "base_model_name_or_path": f"file:{root}/one"}
        path.write_bytes(orjson.dumps(config))
    return root


@pytest.fixture(scope="module", params=["both", "one at a time"])
def scant(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ScantStack]:
    """Two workers whose budget takes both small models, or only one of them; never the large one."""
    one = weight_count(models / "one") * 4
    budget = one * 2 + 32_000 if request.param == "both" else one + 32_000
    assert one + 32_000 < one * 2 < budget + one
    assert weight_count(models / "large") * 4 > one * 2 + 32_000
    settings = {
        **TEST_SETTINGS,
        "TEXTMILL_ALLOW_FILE_MODELS": "true",
        "TEXTMILL_LOG_JSON": "true",
        "TEXTMILL_MODEL_CACHE_BYTES": str(budget),
    }
    running = ScantStack(tmp_path_factory.mktemp("scant"), workers=2, settings=settings)
    running.holds_both = request.param == "both"
    try:
        running.start()
        yield running
        running.stop()
    finally:
        running.end()


@pytest.fixture
def client(scant: ScantStack) -> Iterator[Textmill]:
    with Textmill(scant.client.url, scant.client.api_key) as tm:
        yield tm


def loads(stack: RunningStack) -> list[str]:
    """The names of the models that workers loaded so far."""
    lines = [
        line
        for path in sorted((stack.data_dir / "logs").glob("worker-*.log*"))
        for line in path.read_bytes().splitlines()
        if line.startswith(b"{")
    ]
    entries = [orjson.loads(line) for line in lines]
    found = [entry for entry in entries if entry.get("event") == "model loaded"]
    return [Path(entry["adapter"] or entry["model"]).name for entry in found]


def submit(tm: Textmill, model: Path, rows: int = 200) -> Job:
    texts = [{"text": f"{TEXTS[n % len(TEXTS)]} {n}"} for n in range(rows)]
    return tm.jobs.create(kind="classify", model=f"file:{model}", input=texts)


def test_models_that_alternate_are_loaded_once_by_each_worker(
    scant: ScantStack, client: Textmill, models: Path
) -> None:
    begun = time.monotonic()
    jobs = [submit(client, models / ("one", "two")[n % 2]) for n in range(JOBS)]
    for job in jobs:
        results, errors = outcome(job)
        assert (len(results), errors) == (200, [])
    assert set(loads(scant)) == {"one", "two"}
    # With room for one, workers stay with theirs unless a job has waited for too long, as on a busy machine.
    if scant.holds_both or time.monotonic() - begun < RESIDENCY_PATIENCE_MS / 1000:
        assert len(loads(scant)) <= 4, loads(scant)


def test_a_model_larger_than_the_budget_fails_its_job_clearly(
    client: Textmill, models: Path
) -> None:
    before = {worker.id for worker in client.workers.list()}
    with pytest.raises(JobFailed) as caught:
        submit(client, models / "large", 5).wait(timeout=120)
    error = caught.value.job.error
    assert error is not None
    assert error.code == "model_too_large"
    assert "MiB for models" in error.message
    assert {worker.id for worker in client.workers.list()} == before, "no process died of it"
    assert len(outcome(submit(client, models / "one", 5))[0]) == 5


def test_adapters_run_as_models_of_their_own_over_one_base(
    scant: ScantStack, client: Textmill, models: Path
) -> None:
    jobs = [submit(client, models / f"adapter-{n % 3}", 50) for n in range(6)]
    found = [tuple(row["output"]["score"] for row in outcome(job)[0]) for job in jobs]
    assert len(set(found)) == 3
    assert found[:3] == found[3:]
    shown = jobs[0].refresh().raw["model"]
    assert shown["ref"] == f"file:{models}/adapter-0"
    assert shown["base"] == f"file:{models}/one"
