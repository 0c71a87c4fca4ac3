"""Trying the ways to compute on a job's first rows: are the results right, and how fast do they come?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jobs.errors import JobFailure, TextmillError
from jobs.kinds import REFERENCE, Kind, KindParams, LoadedModel, RunContext, Trial
from jobs.rows import Outcome, Row
from nlp.batching import is_device_lost
from nlp.engines.choice import Measurement, Way

#: Rows that are compared with the reference, and seconds after which no further one is computed by it. What rounding
#: does to one answer in a hundred is seen only among many.
CHECKED_ROWS, CHECK_SECONDS = 96, 5.0
#: Rows that are timed, and seconds after which a way has shown how fast it is.
TIMED_ROWS, TIMED_SECONDS = 32, 3.0

#: Rows that are of any use.
MOST_ROWS = max(CHECKED_ROWS, TIMED_ROWS)

#: Rows timed for each row that the reference had time for, at most.
_MORE = 4

Load = Callable[[Way], LoadedModel]


class _Enough(Exception):
    """A way has shown how fast it is."""


class Trials:
    """Ways to compute, tried one after another on the same rows.

    Args:
        load: gives the model, loaded in some way; raises ``engine_unsupported`` where that cannot be.
        clock: seconds, growing.
    """

    def __init__(
        self,
        kind: Kind,
        params: KindParams,
        rows: Sequence[Row],
        context: RunContext,
        load: Load,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._kind = kind
        self._params = params
        self._rows = list(rows[:MOST_ROWS])
        self._context = context
        self._load = load
        self._clock = clock
        self._rounding: set[Way] = set()  #: ways that compute in less than fp32, and are wrong

    def measure(self, ways: Sequence[Way]) -> list[Measurement]:
        """Check and time each way. An engine that rounds too much is also tried in fp32.

        Raises:
            JobFailure: the model or the parameters cannot be used at all.
        """
        reference = self._load(Way(REFERENCE, "exact"))
        expected = self._expected(reference)
        measured: list[Measurement] = []
        waiting = list(ways)
        while waiting:
            way = waiting.pop(0)
            measured.append(self._measured(way, reference, expected))
            unrounded = Way(way.engine, "exact")
            if way in self._rounding and unrounded not in ways:
                waiting.insert(0, unrounded)
        return measured

    def _expected(self, reference: LoadedModel) -> Trial:
        """What plain transformers makes of the first rows, in fp32, one by one: of as many as there is time for."""
        reference.activate()
        state = self._kind.prepare(reference, self._params, self._context)
        outcomes: list[Outcome] = []
        deadline = self._clock() + CHECK_SECONDS
        with reference.tracing() as trace:
            for row in self._rows[:CHECKED_ROWS]:
                outcomes += self._kind.run(reference, state, [row], self._params, self._context)
                if self._clock() > deadline:
                    break
        return Trial(outcomes, trace)

    def _measured(self, way: Way, reference: LoadedModel, expected: Trial) -> Measurement:
        try:
            model = self._load(way)
            model.activate()
            state = self._kind.prepare(model, self._params, self._context)
            fault = self._fault(model, state, reference, expected)
            if fault is not None:
                if model.describe().get("precision") != "fp32":
                    self._rounding.add(way)
                return Measurement(way=way, fault=fault)
            return Measurement(
                way=way, rows_per_second=self._speed(model, state, len(expected.outcomes))
            )
        except JobFailure as failure:
            if failure.failure_code not in {"engine_unsupported", "model_too_large"}:
                raise
            return Measurement(way=way, fault=failure.detail)
        except TextmillError:
            raise
        except Exception as error:
            if is_device_lost(error):
                raise
            return Measurement(way=way, fault=f"it failed: {type(error).__name__}: {error}")

    def _fault(
        self, model: LoadedModel, state: Any, reference: LoadedModel, expected: Trial
    ) -> str | None:
        rows = self._rows[: len(expected.outcomes)]
        with model.tracing() as trace:
            outcomes = self._kind.run(model, state, rows, self._params, self._context)
        exact = model.describe().get("precision") == "fp32"
        return self._kind.disagreement(reference, expected, Trial(outcomes, trace), exact=exact)

    def _speed(self, model: LoadedModel, state: Any, checked: int) -> float:
        """Rows a second, of a model that is warm by now; on fewer rows where the reference was slow."""
        rows = self._rows[: min(TIMED_ROWS, _MORE * max(checked, 1))]
        begun = self._clock()
        done = 0

        def tick(rows: int) -> None:
            nonlocal done
            done += rows
            if self._clock() - begun > TIMED_SECONDS and done:
                raise _Enough

        context = replace(self._context, tick=tick)
        try:
            self._kind.run(model, state, rows, self._params, context)
            done = len(rows)
        except _Enough:
            pass
        return done / max(self._clock() - begun, 1e-9)
