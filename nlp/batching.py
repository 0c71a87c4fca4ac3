"""Batches under a token budget, and what to do when one of them fails.

Knows nothing of torch: it plans over lengths, calls a function for each batch and looks at exceptions.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Self, TypeVar

from jobs.errors import TextmillError
from jobs.rows import RowFailure

Result = TypeVar("Result")

#: Words in the messages of allocators: CUDA, the CPU allocator of torch, cuBLAS.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
#: Words of errors after which a device answers nothing any more; no row is to blame for what follows.
_DEVICE_LOST = ("cuda error", "cuda driver error", "device-side assert", "nccl error")


#: Rows of a batch below which a few rows are not shared out among threads.
_LEAST_SHARE = 8


#: Batches that must fit, one after another, before a larger one is tried again.
_PATIENCE = 100


class TokenBudget:
    """How many padded tokens one batch may hold. Shrinks when the device runs out of memory.

    It grows again, for memory may have been short for a moment only; at most to what it was in the beginning.

    Args:
        tokens: of a batch, to begin with.
    """

    def __init__(self, tokens: int, max_rows: int | None = None) -> None:
        self.tokens = tokens
        self.max_rows = max_rows
        self._most = tokens
        self._fitted = 0

    def shrink(self, cost: int) -> None:
        """Halve: a batch of ``cost`` padded tokens did not fit."""
        self.tokens = max(1, min(self.tokens, cost) // 2)
        self._fitted = 0

    def fitted(self) -> None:
        """A batch fitted. After many the budget is doubled: one that fails again costs little then."""
        if self.tokens == self._most:
            return
        self._fitted += 1
        if self._fitted >= _PATIENCE:
            self.tokens = min(self._most, 2 * self.tokens)
            self._fitted = 0


def plan_batches(
    lengths: Sequence[int], budget: int, *, max_rows: int | None = None
) -> list[list[int]]:
    """Positions grouped into batches of like length, longest first.

    A batch costs its longest length times its number of rows, because shorter rows are padded. No batch costs
    more than ``budget``, except a row that is alone and longer than that. Longest first, so that memory
    runs out in the first batch or never.
    """
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    batches: list[list[int]] = []
    longest = 0
    for position in order:
        batch = batches[-1] if batches else None
        if (
            batch is None
            or longest * (len(batch) + 1) > budget
            or (max_rows is not None and len(batch) >= max_rows)
        ):
            batches.append([position])
            longest = max(1, lengths[position])
        else:
            batch.append(position)
    return batches


def run_batches(
    lengths: Sequence[int],
    compute: Callable[[Sequence[int]], Sequence[Result | RowFailure]],
    budget: TokenBudget,
    done: Callable[[Sequence[int]], None],
    *,
    at_once: int = 1,
) -> list[Result | RowFailure]:
    """Compute every position in batches and give the results in the order of ``lengths``.

    Args:
        lengths: padded length that each position asks for, in tokens.
        compute: results for a batch of positions, in its order.
        budget: shrunk in place when a batch does not fit into memory.
        done: told the positions of each finished batch; what it raises ends the run.
        at_once: batches computed at a time. With more than one, ``compute`` is called from as many threads.

    A batch that runs out of memory is planned again under half the budget; a row that does not fit alone
    fails with ``out_of_memory``. A batch that raises anything else is bisected until the row at fault
    stands alone and fails with ``inference_failed``.

    Raises:
        TextmillError: ``compute`` raised it: the fault lies with the job and not with a row.
        Exception: the device is lost, or ``done`` raised.
    """
    results: dict[int, Result | RowFailure] = {}
    waiting = _planned(range(len(lengths)), lengths, budget, at_once)
    with _Attempts(compute, at_once) as attempts:
        while waiting or attempts.started:
            while waiting and attempts.started < attempts.most:
                attempts.start(waiting.pop())
            batch, outcome = attempts.oldest()
            if isinstance(outcome, Failed):
                if outcome.out_of_memory:
                    release_memory()
                if len(batch) == 1:
                    outcome = [outcome.of_row()]
                elif outcome.out_of_memory:
                    budget.shrink(len(batch) * max(lengths[position] for position in batch))
                    left = [*batch, *(position for other in waiting for position in other)]
                    waiting = _planned(left, lengths, budget, at_once)
                    continue
                else:
                    middle = len(batch) // 2
                    waiting += [batch[middle:], batch[:middle]]
                    continue
            else:
                budget.fitted()
            results.update(zip(batch, outcome, strict=True))
            done(batch)
    return [results[position] for position in range(len(lengths))]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on whichever device. torch reports most of them as RuntimeError."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and _mentions(error, _OUT_OF_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """Whether the device itself broke, so that only a fresh process can go on."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, RuntimeError) and _mentions(error, _DEVICE_LOST)


def release_memory() -> None:
    """Return memory that nothing refers to any more to the device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Failed:
    """A computation that raised. The exception itself is let go: its traceback holds the batch's tensors."""

    out_of_memory: bool
    reason: str

    def of_row(self) -> RowFailure:
        """What to say of a row that stood alone."""
        if self.out_of_memory:
            return RowFailure(
                "out_of_memory", "The row does not fit into the device's memory, even alone."
            )
        return RowFailure("inference_failed", f"The model failed on this row: {self.reason}")


class _Attempts(Generic[Result]):
    """Batches that are being computed: in this thread, or in several beside it."""

    def __init__(
        self, compute: Callable[[Sequence[int]], Sequence[Result | RowFailure]], at_once: int
    ) -> None:
        self._compute = compute
        self._pool = ThreadPoolExecutor(at_once) if at_once > 1 else None
        # Results are taken in order, so a thread must find more to do while an older batch is slow.
        self.most = 2 * at_once if self._pool else 1
        self._batches: deque[tuple[list[int], Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @property
    def started(self) -> int:
        """Batches started and not taken back."""
        return len(self._batches)

    def start(self, batch: list[int]) -> None:
        """Begin; without threads, compute."""
        if self._pool is None:
            self._batches.append((batch, attempt(partial(self._compute, batch))))
        else:
            self._batches.append((batch, self._pool.submit(attempt, partial(self._compute, batch))))

    def oldest(self) -> tuple[list[int], Sequence[Result | RowFailure] | Failed]:
        """The batch that was started first, once it is finished, and what came of it."""
        batch, outcome = self._batches.popleft()
        return batch, outcome.result() if isinstance(outcome, Future) else outcome


def attempt(compute: Callable[[], Result]) -> Result | Failed:
    """What a computation gives, or that it failed, with memory given back where that ran out.

    Raises:
        TextmillError: ``compute`` raised it: the fault lies with the job and not with a row.
        Exception: the device is lost.
    """
    try:
        return compute()
    except TextmillError:
        raise
    except Exception as error:
        if is_device_lost(error):
            raise
        first_line = (str(error).splitlines() or [""])[0][:200]
        return Failed(is_out_of_memory(error), f"{type(error).__name__}: {first_line}")


def _planned(
    positions: Iterable[int], lengths: Sequence[int], budget: TokenBudget, at_once: int
) -> list[list[int]]:
    """Batches as a stack: the one to run first comes last.

    Computed several at a time, they are as many for each thread and of equal rows, so that none of them idles
    while another is at the last batch.
    """
    numbers = sorted(positions)

    def plan(most: int | None) -> list[list[int]]:
        limits = [limit for limit in (most, budget.max_rows) if limit is not None]
        return plan_batches(
            [lengths[number] for number in numbers],
            budget.tokens,
            max_rows=min(limits) if limits else None,
        )

    if at_once == 1 or not numbers:
        planned = plan(None)
    else:
        planned = plan(max(_LEAST_SHARE, -(-len(numbers) // at_once)))
        rounds = -(-len(planned) // at_once)
        even = plan(max(_LEAST_SHARE, -(-len(numbers) // (rounds * at_once))))
        # Rows of very different lengths part at other places than the even ones: then in more batches.
        if len(even) <= rounds * at_once:
            planned = even
    return [[numbers[place] for place in batch] for batch in reversed(planned)]


def _mentions(error: BaseException, words: tuple[str, ...]) -> bool:
    message = str(error).lower()
    return any(word in message for word in words)
