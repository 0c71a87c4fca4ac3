"""Which engine is taken: agreement with the reference, the order of preference, and the trial itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import REFERENCE, Kind, KindParams, LoadedModel, RunContext
from jobs.rows import Outcome, Row, RowFailure, Success
from nlp.engines.agreement import labels_disagree
from nlp.engines.choice import Measurement, Way, candidates, faults, ranked, speeds
from nlp.engines.machine import machine_facts, machine_key, usable_engines
from nlp.engines.measuring import CHECK_SECONDS, CHECKED_ROWS, TIMED_ROWS, Trials
from tests.unit.nlp.tinymodels import CPU, rows_of

AUTO, FAST, EXACT = Way("torch", "auto"), Way("ctranslate2", "auto"), Way("torch", "exact")


def labelled(**scores: float) -> Success:
    best = max(scores, key=lambda label: scores[label])
    labels = [{"label": label, "score": score} for label, score in scores.items()]
    return Success({"label": best, "score": scores[best], "labels": labels})


@pytest.mark.parametrize(
    ("one", "other", "exact", "reason"),
    [
        (labelled(a=0.7, b=0.3), labelled(a=0.7, b=0.3), True, None),
        (labelled(a=0.7, b=0.3), labelled(a=0.70005, b=0.29995), True, None),
        (labelled(a=0.7, b=0.3), labelled(a=0.701, b=0.299), True, "differs by 0.0010"),
        (labelled(a=0.7, b=0.3), labelled(a=0.72, b=0.28), False, None),
        (labelled(a=0.7, b=0.3), labelled(a=0.74, b=0.26), False, "differs by 0.0400"),
        (labelled(a=0.505, b=0.495), labelled(a=0.495, b=0.505), False, None),
        (labelled(a=0.515, b=0.485), labelled(a=0.495, b=0.505), False, "label 'b', expected 'a'"),
        (RowFailure("non_finite", "x"), RowFailure("non_finite", "x"), False, None),
        (RowFailure("non_finite", "x"), labelled(a=1.0), False, "only one of the two failed"),
    ],
)
def test_labels_agree_within_the_tolerances(
    one: Outcome, other: Outcome, exact: bool, reason: str | None
) -> None:
    found = labels_disagree([one], [other], exact=exact)
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_few_scores_may_be_further_off_than_most() -> None:
    expected = [labelled(a=0.9)] * 200
    assert labels_disagree(expected, [labelled(a=0.92), *expected[1:]], exact=False) is None
    assert "1 in 100" in str(
        labels_disagree(expected, [labelled(a=0.92)] * 5 + expected[5:], exact=False)
    )


def test_the_reference_in_fp32_is_worth_trying_only_where_it_would_not_be_taken_anyway() -> None:
    assert candidates(("torch", "ctranslate2"), reduced=False) == [AUTO, FAST]
    assert candidates(("torch", "ctranslate2"), reduced=True) == [AUTO, FAST, EXACT]


def test_the_fastest_without_a_fault_comes_first_and_fp32_last() -> None:
    measured = [
        Measurement(way=AUTO, rows_per_second=3.0),
        Measurement(way=FAST, rows_per_second=9.0),
    ]
    assert ranked(measured, EXACT) == [FAST, AUTO, EXACT]
    wrong = [measured[0], Measurement(way=FAST, fault="row 1: label 'x'")]
    assert ranked(wrong, EXACT) == [AUTO, EXACT]
    assert faults(wrong) == {"ctranslate2": "row 1: label 'x'"}
    assert speeds(wrong) == {"torch": 3.0}
    assert ranked([], EXACT) == [EXACT]


def test_measurements_can_be_remembered() -> None:
    for one in (
        Measurement(way=FAST, rows_per_second=9.25),
        Measurement(way=EXACT, fault="slow"),
    ):
        assert Measurement.of(one.record()) == one
    assert Measurement.of({"engine": "x", "precision": "fp4", "rows_per_second": 1}) is None
    assert Measurement.of("x") is None


def test_a_machine_is_known_by_what_it_computes_with() -> None:
    facts = machine_facts(CPU)
    assert facts["device"] == "cpu"
    assert facts["ctranslate2"] != "none"
    assert machine_key(facts) == machine_key(dict(reversed(facts.items())))
    assert machine_key({**facts, "threads": "99"}) != machine_key(facts)


class Clock:
    """Time that passes only when something is computed."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Model(LoadedModel):
    def __init__(self, seconds: float, mark: str = "", precision: str = "fp32") -> None:
        self.seconds, self.mark, self.precision = seconds, mark, precision

    @property
    def memory_bytes(self) -> int:
        return 1

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "x", "precision": self.precision}


class Slow(Kind):
    """Writes texts in capitals, in the model's own time; a marked model writes its mark too."""

    name: ClassVar[str] = "slow"
    summary: ClassVar[str] = "For tests."
    engines: ClassVar[tuple[str, ...]] = ("torch", "ctranslate2")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def run(
        self, model: Any, state: Any, rows: Sequence[Row], params: Any, context: RunContext
    ) -> list[Outcome]:
        if model.mark == "broken":
            raise ValueError("no such kernel")
        for _ in rows:
            self.clock.now += model.seconds
            context.tick(1)
        return [Success({"text": row.text.upper() + model.mark}) for row in rows]


def measured(
    models: dict[Way, Model | JobFailure], rows: int = 100
) -> tuple[list[Measurement], float]:
    clock = Clock()
    loads: list[Way] = []

    def load(way: Way) -> LoadedModel:
        loads.append(way)
        model = models[way]
        if isinstance(model, JobFailure):
            raise model
        return model

    given = rows_of([f"text {number}" for number in range(rows)])
    trials = Trials(Slow(clock), KindParams(), given, RunContext(device=CPU), load, clock=clock)
    ways = [way for way in models if way.engine != REFERENCE]
    found = trials.measure(ways)
    assert loads == [Way(REFERENCE, "exact"), *ways]
    return found, clock.now


PLAIN = Way(REFERENCE, "exact")


def test_ways_are_checked_and_timed() -> None:
    found, _ = measured({PLAIN: Model(0.01), AUTO: Model(0.02), FAST: Model(0.005)})
    assert [one.way for one in found] == [AUTO, FAST]
    assert [one.rows_per_second for one in found] == [pytest.approx(50), pytest.approx(200)]
    assert ranked(found, EXACT)[0] == FAST


def test_a_way_that_computes_something_else_is_passed_over() -> None:
    found, _ = measured({PLAIN: Model(0.01), AUTO: Model(0.02), FAST: Model(0.001, "!")})
    assert found[1].fault == "row 0 of the trial came out differently"
    assert ranked(found, EXACT) == [AUTO, EXACT]


def test_an_engine_that_rounds_too_much_is_tried_in_fp32() -> None:
    clock = Clock()
    unrounded = Way("ctranslate2", "exact")
    models = {
        PLAIN: Model(0.01),
        AUTO: Model(0.02),
        FAST: Model(0.001, "!", "int8"),
        unrounded: Model(0.002),
    }
    rows = rows_of([f"text {number}" for number in range(100)])
    context = RunContext(device=CPU)
    trials = Trials(Slow(clock), KindParams(), rows, context, models.__getitem__, clock=clock)
    found = trials.measure([AUTO, FAST])
    assert [one.way for one in found] == [AUTO, FAST, unrounded]
    assert [one.fault is None for one in found] == [True, False, True]
    assert ranked(found, EXACT)[0] == unrounded


def test_a_way_that_cannot_run_is_passed_over() -> None:
    refused = JobFailure("engine_unsupported", "not this model")
    found, _ = measured({PLAIN: Model(0.01), AUTO: Model(0.02, "broken"), FAST: refused})
    assert [one.fault for one in found] == [
        "it failed: ValueError: no such kernel",
        "not this model",
    ]
    with pytest.raises(JobFailure, match="no good"):
        measured({PLAIN: Model(0.01), FAST: JobFailure("invalid_params", "no good")})


def test_trials_of_slow_models_take_little_time() -> None:
    found, took = measured({PLAIN: Model(2.0), AUTO: Model(2.0), FAST: Model(0.5)})
    assert [one.rows_per_second for one in found] == [pytest.approx(0.5), pytest.approx(2)]
    # The reference, then each way: once to compare, once for its speed.
    assert took < CHECK_SECONDS + 2 + 2 * (2 * CHECK_SECONDS + 5)


def test_trials_are_of_a_few_rows() -> None:
    _, took = measured({PLAIN: Model(0.001), AUTO: Model(0.001)}, rows=10_000)
    assert took == pytest.approx(0.001 * (2 * CHECKED_ROWS + TIMED_ROWS))


def test_traces_are_empty_by_default() -> None:
    with Model(1.0).tracing() as trace:
        assert trace == []
    assert isinstance(iter(trace), Iterator)


def test_an_engine_that_is_not_there_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Device(type="cuda", name="a GPU")
    monkeypatch.setattr("nlp.engines.machine.find_spec", lambda _: None)
    assert usable_engines(("torch", "openvino"), CPU) == ["torch"]
    monkeypatch.setattr("nlp.engines.machine.find_spec", lambda name: name)
    assert usable_engines(("torch", "openvino"), CPU) == ["torch", "openvino"]
    assert usable_engines(("torch", "openvino"), gpu) == ["torch"]
    assert usable_engines(("torch", "ctranslate2"), gpu) == ["torch", "ctranslate2"]
