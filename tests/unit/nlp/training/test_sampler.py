"""Batches: every row once an epoch, of like length, in an order that seed and epoch decide."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from nlp.training.sampler import Batches, batches


def some_lengths(count: int) -> npt.NDArray[np.int32]:
    random = np.random.Generator(np.random.PCG64(3))
    return random.integers(1, 300, count).astype(np.int32)


def cost(batch: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> int:
    return int(lengths[batch].max()) * len(batch)


@pytest.mark.parametrize(
    ("count", "rows", "tokens"), [(1, 8, 640), (1000, 8, 1024), (5000, 3, 600)]
)
def test_every_row_once_and_within_bounds(count: int, rows: int, tokens: int) -> None:
    lengths = some_lengths(count)
    found = batches(lengths, rows=rows, tokens=tokens, seed=0, epoch=0)
    seen = sorted(int(number) for batch in found for number in batch)
    assert seen == list(range(count))
    for batch in found:
        assert 1 <= len(batch) <= rows
        assert cost(batch, lengths) <= tokens


def test_a_row_over_the_budget_stands_alone() -> None:
    lengths = np.array([5, 100, 5, 5], np.int32)
    found = batches(lengths, rows=8, tokens=20, seed=0, epoch=0)
    assert [1] in [batch.tolist() for batch in found]


def test_little_is_padded() -> None:
    lengths = some_lengths(3000)
    found = batches(lengths, rows=32, tokens=10**6, seed=0, epoch=0)
    padded = sum(cost(batch, lengths) for batch in found)
    assert int(lengths.sum()) > 0.97 * padded


def test_seed_and_epoch_decide_the_order() -> None:
    lengths = some_lengths(500)

    def order(seed: int, epoch: int) -> list[list[int]]:
        found: Batches = batches(lengths, rows=8, tokens=10**6, seed=seed, epoch=epoch)
        return [batch.tolist() for batch in found]

    assert order(1, 2) == order(1, 2)
    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_a_slice_is_a_list_of_batches() -> None:
    found = batches(some_lengths(100), rows=8, tokens=10**6, seed=0, epoch=0)
    assert [one.tolist() for one in found[2:5]] == [found[place].tolist() for place in (2, 3, 4)]
