"""Rows made ready in a thread while the device computes those before them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self

import structlog

from jobs.kinds import Kind, RunContext
from jobs.rows import Outcome, Row

log = structlog.get_logger(__name__)


class Ahead:
    """Lets a kind make one window ready while it computes the one before."""

    def __init__(self, kind: Kind, model: Any, state: Any, params: Any) -> None:
        """Args:
        model: loaded.
        state: as :meth:`jobs.kinds.Kind.prepare` made it.
        """
        self.useful = type(kind).ahead is not Kind.ahead  #: whether it makes anything ready at all
        self._kind = kind
        self._model = model
        self._state = state
        self._params = params
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._made: Future[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Waited for: it holds on to the model, whose memory others may need.
        self._thread.shutdown(cancel_futures=True)

    def begin(self, rows: Sequence[Row]) -> None:
        """Begin with the rows of the window that will be taken next."""
        if rows and self.useful:
            self._made = self._thread.submit(
                self._kind.ahead, self._model, self._state, rows, self._params
            )

    def take(self) -> Any:
        """What was made of them, once that is finished; None where nothing was, or it failed."""
        made, self._made = self._made, None
        if made is None:
            return None
        error = made.exception()
        if error is not None:
            log.warning("not made ready", reason=f"{type(error).__name__}: {error}"[:200])
            return None
        return made.result()


def run_windows(
    kind: Kind, model: Any, state: Any, rows: Sequence[Row], *, params: Any, context: RunContext
) -> list[Outcome]:
    """One outcome for each row, in order: window after window, as a worker computes them."""
    size = kind.window_rows
    windows = [rows[start : start + size] for start in range(0, len(rows), size)]
    outcomes: list[Outcome] = []
    with Ahead(kind, model, state, params) as ahead:
        for number, window in enumerate(windows):
            made = ahead.take()
            ahead.begin([] if number + 1 == len(windows) else windows[number + 1])
            outcomes += kind.run(model, state, window, params, replace(context, ahead=made))
    return outcomes
