"""Planning of batches, and what happens when one fails."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import JobFailure
from jobs.rows import RowFailure
from nlp.batching import TokenBudget, is_device_lost, is_out_of_memory, plan_batches, run_batches


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> Iterator[None]:
    """Each shortage of memory collects garbage, which is slow beside the objects of a loaded torch."""
    gc.freeze()
    yield
    gc.unfreeze()


lengths_lists = st.lists(st.integers(min_value=0, max_value=300), max_size=60)


@given(lengths_lists, st.integers(min_value=1, max_value=1000), st.integers(1, 9) | st.none())
def test_plan_places_every_row_once_and_keeps_the_budget(
    lengths: list[int], budget: int, max_rows: int | None
) -> None:
    batches = plan_batches(lengths, budget, max_rows=max_rows)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        cost = max(lengths[place] for place in batch) * len(batch)
        assert len(batch) == 1 or cost <= budget
        assert max_rows is None or len(batch) <= max_rows


@given(lengths_lists, st.integers(min_value=1, max_value=1000))
def test_plan_goes_from_long_to_short(lengths: list[int], budget: int) -> None:
    planned = [lengths[place] for batch in plan_batches(lengths, budget) for place in batch]
    assert planned == sorted(lengths, reverse=True)


def test_rows_of_equal_length_fill_the_budget() -> None:
    assert [len(batch) for batch in plan_batches([10] * 10, 40)] == [4, 4, 2]


@given(
    lengths_lists,
    st.integers(min_value=1, max_value=2000),
    st.integers(min_value=1, max_value=250),
    st.sets(st.integers(min_value=0, max_value=59), max_size=5),
)
def test_bad_rows_fail_alone_whatever_the_memory(
    lengths: list[int], budget: int, memory: int, poison: set[int]
) -> None:
    """A device with room for ``memory`` padded tokens, on which some rows raise."""
    ticked: list[int] = []

    def compute(batch: Sequence[int]) -> list[int]:
        if max(lengths[place] for place in batch) * len(batch) > memory:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if poison.intersection(batch):
            raise ValueError("bad row")
        return [place * 10 for place in batch]

    results = run_batches(lengths, compute, TokenBudget(budget), ticked.extend)
    assert sorted(ticked) == list(range(len(lengths)))
    for place, result in enumerate(results):
        if lengths[place] > memory:
            assert isinstance(result, RowFailure)
            assert result.code == "out_of_memory"
        elif place in poison:
            assert isinstance(result, RowFailure)
            assert result.code == "inference_failed"
            assert "bad row" in result.message
        else:
            assert result == place * 10


def test_memory_shortage_halves_the_budget_for_later_batches_too() -> None:
    sizes: list[int] = []

    def compute(batch: Sequence[int]) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return list(batch)

    budget = TokenBudget(80)
    assert run_batches([10] * 12, compute, budget, lambda _: None) == list(range(12))
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2]
    assert budget.tokens == 20


def test_the_budget_grows_again_when_memory_was_short_for_a_moment() -> None:
    short = True

    def compute(batch: Sequence[int]) -> list[int]:
        if short and len(batch) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 MiB")
        return list(batch)

    budget = TokenBudget(80)
    run_batches([10] * 12, compute, budget, lambda _: None)
    assert budget.tokens == 10
    run_batches([10] * 80, compute, budget, lambda _: None)
    assert budget.tokens == 10, "not yet: a batch that fails again is work done twice"
    run_batches([10] * 30, compute, budget, lambda _: None)
    assert budget.tokens == 20
    short = False
    run_batches([10] * 250, compute, budget, lambda _: None)
    assert budget.tokens == 40
    run_batches([10] * 4000, compute, budget, lambda _: None)
    assert budget.tokens == 80, "as in the beginning, and never more"


def test_what_the_caller_raises_between_batches_passes_through() -> None:
    class Cancelled(Exception):
        pass

    done: list[int] = []

    def stop(batch: Sequence[int]) -> None:
        done.extend(batch)
        raise Cancelled

    with pytest.raises(Cancelled):
        run_batches([5, 5, 5], list, TokenBudget(5), stop)
    assert len(done) == 1


def test_a_job_failure_is_no_fault_of_a_row() -> None:
    def compute(batch: Sequence[int]) -> list[int]:
        raise JobFailure("invalid_params", "no")

    with pytest.raises(JobFailure, match="no"):
        run_batches([1, 1], compute, TokenBudget(5), lambda _: None)


def test_a_lost_device_is_no_fault_of_a_row() -> None:
    def compute(batch: Sequence[int]) -> list[int]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        run_batches([1, 1], compute, TokenBudget(5), lambda _: None)


@pytest.mark.parametrize(
    ("error", "memory", "lost"),
    [
        (MemoryError(), True, False),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 MiB"), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("shape '[2]' is invalid"), False, False),
        (ValueError("out of memory"), False, False),
    ],
)
def test_errors_are_told_apart(error: Exception, memory: bool, lost: bool) -> None:
    assert is_out_of_memory(error) is memory
    assert is_device_lost(error) is lost


def test_batches_side_by_side_give_the_same_results_in_the_same_order() -> None:
    together = threading.Barrier(2, timeout=10)
    done: list[int] = []

    def compute(batch: Sequence[int]) -> list[int]:
        together.wait()  # passes only when two batches are computed at once
        return [position * 10 for position in batch]

    found = run_batches([1] * 32, compute, TokenBudget(100), done.extend, at_once=2)
    assert found == [position * 10 for position in range(32)]
    assert sorted(done) == list(range(32))


def test_side_by_side_too_a_row_at_fault_stands_alone() -> None:
    def compute(batch: Sequence[int]) -> list[int]:
        if 13 in batch:
            raise ValueError("thirteen")
        return list(batch)

    found = run_batches([3] * 40, compute, TokenBudget(30), lambda _: None, at_once=3)
    assert [one for one in found if not isinstance(one, RowFailure)] == [
        position for position in range(40) if position != 13
    ]
    assert isinstance(found[13], RowFailure)


def test_side_by_side_too_what_done_raises_ends_the_run() -> None:
    def stop(batch: Sequence[int]) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        run_batches([5] * 100, list, TokenBudget(5), stop, at_once=2)


def test_threads_get_as_many_batches_of_equal_rows() -> None:
    """48, 48 and 32 rows on two threads would leave one of them idle during a batch of 48."""
    sizes: list[int] = []

    def compute(batch: Sequence[int]) -> list[int]:
        sizes.append(len(batch))
        return list(batch)

    budget = TokenBudget(48 * 10)
    assert run_batches([10] * 128, compute, budget, lambda _: None, at_once=2) == list(range(128))
    assert sizes == [32, 32, 32, 32]


@given(lengths_lists, st.integers(min_value=1, max_value=2000), st.integers(2, 4))
def test_equal_shares_are_within_the_budget_and_no_more_batches(
    lengths: list[int], budget: int, at_once: int
) -> None:
    batches: list[list[int]] = []

    def compute(batch: Sequence[int]) -> list[int]:
        batches.append(list(batch))
        return list(batch)

    results = run_batches(lengths, compute, TokenBudget(budget), lambda _: None, at_once=at_once)
    assert results == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= budget
    share = max(8, -(-len(lengths) // at_once))
    plain = len(plan_batches(lengths, budget, max_rows=share))
    assert len(batches) <= -(-plain // at_once) * at_once
