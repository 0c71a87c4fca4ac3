"""Windows made ready ahead, and what becomes of it when that fails or is not needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from jobs.kinds import Kind, RunContext
from jobs.rows import Outcome, Row, Success
from nlp.ahead import Ahead, run_windows

ROWS = [Row(number, f"text {number}") for number in range(7)]


class Plain(Kind):
    """Notes what it is given."""

    name: ClassVar[str] = "plain"
    window_rows: ClassVar[int] = 3

    def __init__(self) -> None:
        self.given: list[Any] = []

    def run(
        self, model: Any, state: Any, rows: Sequence[Row], params: Any, context: RunContext
    ) -> list[Outcome]:
        self.given.append(context.ahead)
        return [Success({"text": row.text}) for row in rows]


class Quick(Plain):
    """Reads ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[threading.Thread] = set()

    def ahead(self, model: Any, state: Any, rows: Sequence[Row], params: Any) -> Any:
        self.threads.add(threading.current_thread())
        return [model, state, params, *(row.index for row in rows)]


class Faulty(Plain):
    """Cannot."""

    def ahead(self, model: Any, state: Any, rows: Sequence[Row], params: Any) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Plain(), [None, None, None]),
        (Quick(), [None, ["m", "s", "p", 3, 4, 5], ["m", "s", "p", 6]]),
        (Faulty(), [None, None, None]),
    ],
)
def test_each_window_but_the_first_is_made_ready(
    kind: Plain, given: list[Any], context: RunContext
) -> None:
    outcomes = run_windows(kind, "m", "s", ROWS, params="p", context=context)
    assert outcomes == [Success({"text": row.text}) for row in ROWS]
    assert kind.given == given
    assert run_windows(kind, "m", "s", [], params="p", context=context) == []


def test_it_is_done_in_a_thread_of_its_own(context: RunContext) -> None:
    kind = Quick()
    run_windows(kind, "m", "s", ROWS, params="p", context=context)
    (thread,) = kind.threads
    assert thread is not threading.current_thread()
    assert not thread.is_alive(), "nothing is left behind"


def test_rows_that_are_not_taken_are_let_go() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Plain):
        def ahead(self, model: Any, state: Any, rows: Sequence[Row], params: Any) -> Any:
            begun.set()
            assert go_on.wait(10)

    def leave() -> None:
        with Ahead(Slow(), "m", "s", "p") as ahead:
            assert ahead.useful
            assert ahead.take() is None
            ahead.begin([])
            assert ahead.take() is None, "there was nothing to make ready"
            ahead.begin(ROWS)
            assert begun.wait(10)
            threading.Timer(0.1, go_on.set).start()

    leave()
    assert go_on.is_set(), "whoever leaves waits for what is under way"
    assert not Ahead(Plain(), "m", "s", "p").useful
