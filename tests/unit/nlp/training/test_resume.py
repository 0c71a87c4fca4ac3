"""A training that was stopped and gone on with ends in the same weights, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.training import Stopped
from tests.unit.nlp.training.runs import Trained, labelled

#: Dropout, accumulation and an end of an epoch in the middle: all that could be forgotten.
PARAMS = {
    "task": "classify",
    "epochs": 3,
    "learning_rate": 3e-3,
    "batch_size": 8,
    "gradient_accumulation": 2,
    "dropout": 0.2,
    "weight_decay": 0.1,
    "schedule": "cosine",
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "test": 0.0,
    "checkpoint_seconds": 86_400.0,
    "early_stopping": 5,
}


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: How often a training of these rows asks before its first step: once for each reading of the data.
ASKED_BEFORE = 3


def after(asked: int) -> Callable[[], bool]:
    """Say stop when asked for the so manieth time: in the data, after a step, in an evaluation."""
    answers = iter([False] * (asked - 1) + [True])
    return lambda: next(answers)


def train_in_pieces(folder: Path, base: Path, params: dict[str, Any], pieces: list[int]) -> Trained:
    """Stop at these moments, go on from the checkpoint alone, and so forth to the end."""
    resume = None
    for number, asked in enumerate(pieces):
        run = Trained(folder / str(number), base, params, labelled(150))
        with pytest.raises(Stopped):
            run.run(resume=resume, stopping=after(asked))
        if run.told("checkpoint"):
            resume = Path(run.told("checkpoint")[-1]["folder"])
    last = Trained(folder / "last", base, params, labelled(150))
    last.run(resume=resume)
    return last


def assert_same_weights(one: Trained, other: Trained) -> None:
    first, second = one.weights(), other.weights()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_stopped_and_gone_on_with_ends_in_the_same_weights(
    tmp_path: Path, encoder: Path, method: str
) -> None:
    params = {**PARAMS, "method": method}
    whole = Trained(tmp_path / "whole", encoder, params, labelled(150))
    result = whole.run()
    steps = whole.told("step")[-1]["step"]
    assert whole.told("step")[-1]["epoch"] == 3
    assert steps >= 20
    per_epoch = steps // 3
    assert steps == 3 * per_epoch
    # In the data, in an epoch, at its very end, in its evaluation, after that, and in the data once more.
    moments = [
        2,
        ASKED_BEFORE + 3,
        ASKED_BEFORE + per_epoch - 3,
        ASKED_BEFORE + 1,
        ASKED_BEFORE + 7,
        3,
    ]
    pieces = train_in_pieces(tmp_path / "pieces", encoder, params, moments)
    assert pieces.told("evaluation")[-1]["step"] == steps
    assert_same_weights(whole, pieces)
    again = pieces.run_result
    assert again is not None
    assert again.output == result.output


def test_the_number_of_threads_comes_from_the_checkpoint(tmp_path: Path, encoder: Path) -> None:
    with threads(2):
        whole = Trained(tmp_path / "whole", encoder, PARAMS, labelled(150))
        whole.run()
        first = Trained(tmp_path / "first", encoder, PARAMS, labelled(150))
        with pytest.raises(Stopped):
            first.run(stopping=after(ASKED_BEFORE + 4))
    with threads(1):
        second = Trained(tmp_path / "second", encoder, PARAMS, labelled(150))
        second.run(resume=Path(first.told("checkpoint")[-1]["folder"]))
        assert torch.get_num_threads() == 2
    assert_same_weights(whole, second)


def test_checkpoints_come_by_the_clock_and_change_nothing(tmp_path: Path, encoder: Path) -> None:
    seldom = Trained(tmp_path / "seldom", encoder, PARAMS, labelled(150))
    seldom.run()
    often = Trained(
        tmp_path / "often", encoder, {**PARAMS, "checkpoint_seconds": 0.1}, labelled(150)
    )
    often.run()
    assert not seldom.told("checkpoint")
    assert len(often.told("checkpoint")) >= 2
    assert_same_weights(seldom, often)


def test_the_seed_decides(tmp_path: Path, encoder: Path) -> None:
    runs = [
        Trained(
            tmp_path / str(number), encoder, {**PARAMS, "epochs": 1, "seed": seed}, labelled(60)
        )
        for number, seed in enumerate([1, 1, 2])
    ]
    for run in runs:
        run.run()
    assert_same_weights(runs[0], runs[1])
    one, other = runs[0].weights(), runs[2].weights()
    assert not all(torch.equal(one[name], other[name]) for name in one)
