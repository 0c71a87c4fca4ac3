"""Two processes that share each batch learn what one would, and whatever is killed, in the end the very same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from jobs.rows import Success
from jobs.training import TrainingRun
from nlp.kinds.fine_tune import FineTune
from nlp.training.classify import ClassifyTask
from nlp.training.task import Example
from tests.unit.nlp.training.dates import date_rows
from tests.unit.nlp.training.grouped import Grouped
from tests.unit.nlp.training.runs import Trained, labelled
from workers.training_child import TrainingDied

#: Each of several trainings imports torch in two processes.
pytestmark = pytest.mark.timeout(600)

#: Batches of an odd number of rows, accumulated, and nothing that is drawn: what is left is rounding.
CLASSIFY = {
    "task": "classify",
    "epochs": 3,
    "learning_rate": 1e-3,
    "batch_size": 5,
    "gradient_accumulation": 3,
    "checkpoint_seconds": 0.2,
    "early_stopping": 5,
}
#: The tokenizer is made on the spot, by one of the processes for all.
DATES = {
    "task": "translate",
    "source_lang": "en",
    "target_lang": "de",
    "epochs": 2,
    "batch_size": 16,
    "test": 0.0,
    "checkpoint_seconds": 0.2,
}


@pytest.fixture(autouse=True)
def processes_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def assert_alike(one: Trained, other: Trained) -> None:
    """But for rounding."""
    first, second = one.weights(), other.weights()
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=2e-4)


def assert_same_files(one: Trained, other: Trained) -> None:
    for path in one.product.glob("*.safetensors"):
        assert path.read_bytes() == (other.product / path.name).read_bytes()


def steps(run: Trained) -> int:
    return int(run.told("step")[-1]["step"])


def test_killed_and_gone_on_with_it_ends_in_the_same_bytes(tmp_path: Path, encoder: Path) -> None:
    params = {**CLASSIFY, "dropout": 0.2, "epochs": 6}
    whole = Grouped(tmp_path / "whole", encoder, params, labelled(150))
    assert "result" in whole.end()
    killed: list[psutil.Process] = []

    def kill(processes: list[psutil.Process], event: Mapping[str, Any]) -> None:
        if event["event"] == "checkpoint" and not killed:
            killed.extend(processes)
            processes[1].kill()

    hurt = Grouped(tmp_path / "hurt", encoder, params, labelled(150))
    try:
        last = hurt.end(meanwhile=kill)
    except TrainingDied:
        last = {"died": ""}
    assert "died" in last
    assert len(killed) == 2
    assert not any(map(psutil.pid_exists, (one.pid for one in killed)))
    again = Grouped(tmp_path / "again", encoder, params, labelled(150))
    assert "result" in again.end(resume=hurt.checkpoints()[0])
    assert again.told("step")[0]["step"] > 1
    assert steps(again) == steps(whole)
    assert_same_files(whole, again)


def test_an_adapter_is_what_one_process_makes_and_one_can_go_on(
    tmp_path: Path, encoder: Path
) -> None:
    # Some batches are of one row, so that there is nothing for the second process.
    params = {**CLASSIFY, "method": "lora", "batch_tokens": 100}
    two = Grouped(tmp_path / "two", encoder, params, labelled(150))
    assert "result" in two.end()
    assert {"event": "phase", "name": "training", "processes": 2} in two.events
    one = Trained(tmp_path / "one", encoder, params, labelled(150))
    one.run()
    assert steps(one) == steps(two)
    assert_alike(one, two)
    alone = Trained(tmp_path / "alone", encoder, params, labelled(150))
    alone.run(resume=two.checkpoints()[0])
    (warning,) = alone.told("warning")
    assert "1 processes train where 2 did before" in warning["message"]
    assert_alike(alone, two)


def test_a_translator_is_what_one_process_makes(tmp_path: Path) -> None:
    rows = date_rows(120)
    two = Grouped(tmp_path / "two", None, DATES, rows, reference="scratch:marian")
    assert "result" in two.end()
    one = Trained(tmp_path / "one", None, DATES, rows, reference="scratch:marian")
    one.run()
    assert steps(one) == steps(two)
    assert_alike(one, two)
    again = Grouped(tmp_path / "again", None, DATES, rows, reference="scratch:marian")
    assert "result" in again.end(resume=two.checkpoints()[0])
    assert_same_files(two, again)


class Cramped(FineTune):
    """The memory of the second device holds no batch."""

    def train(self, run: TrainingRun) -> Success:
        if run.ranks.rank == 1:
            ClassifyTask.loss = full  # type: ignore[method-assign,assignment]  # in a process of its own
        return super().train(run)


def full(_self: ClassifyTask, _batch: Sequence[Example]) -> tuple[torch.Tensor, int]:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_one_device_without_memory_is_as_all_without(tmp_path: Path, encoder: Path) -> None:
    run = Grouped(tmp_path / "cramped", encoder, CLASSIFY, labelled(60))
    run.kind = f"{__name__}:Cramped"
    failure = run.end()["failure"]
    assert (failure["code"], failure["field"]) == ("model_too_large", "params.batch_tokens")
    assert "A batch of 2 rows does not fit" in failure["message"]
