"""Chains: who follows whom, and when."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.chains import MOST_STEPS, StepState, decisive, in_order
from jobs.schedules import ScheduleSpec

JOB = {"kind": "echo", "input": {"items": [{"text": "a"}]}}


def step(name: object, **more: Any) -> dict[str, Any]:
    return {"name": name, "job": {"kind": "echo", "input": {"text_field": "output.text"}}, **more}


def schedule(*steps: object, **more: Any) -> ScheduleSpec:
    return ScheduleSpec.model_validate({"every": 60, "job": JOB, "then": list(steps), **more})


def test_a_step_follows_the_one_before_it_unless_it_says_otherwise() -> None:
    made = schedule(step("a"), step("b"), step("c", after=None), step("d", after="a"))
    assert [one.after for one in made.then] == [None, "a", None, "a"]
    assert ScheduleSpec.model_validate(made.model_dump(mode="json")) == made


def test_a_step_may_follow_one_that_is_told_of_later() -> None:
    made = schedule(step("c", after="b"), step("b", after="a"), step("a", after=None))
    assert [one.name for one in in_order(made.then)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([step("a", after="a")], "expected no circle, found a after a"),
        (
            [step("x", after=None), step("a", after="c"), step("b", after="a"), step("c")],
            "expected no circle, found a after c after b after a",
        ),
        ([step("z", after="a"), step("a", after="b"), step("b", after="a")], "a after b after a"),
        ([step("a"), step("a")], "expected each name once, found a twice"),
        ([step("a", after="nope")], "a follows nope, which is no step; known: a"),
        ([step("A")], "match pattern"),
        ([step("a.b")], "match pattern"),
        ([step(None)], "valid string"),
        ([step(f"s{n}") for n in range(MOST_STEPS + 1)], "at most 10 items"),
        ([{"name": "a", "job": {"kind": "echo", "input": {}}}], "expected text_field to name"),
        ([{"name": "a", "job": JOB}], "Extra inputs"),
        ([step("a", when={"status": "failed"})], "Input should be 'completed'"),
        ([step("a", when={"max_errors": "101%"})], "percentage"),
        ([step("a", when={"min_rows": -1})], "greater than or equal to 0"),
        (["a"], "valid dictionary"),
    ],
)
def test_a_chain_that_is_refused(steps: list[Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        schedule(*steps)


def test_no_secret_is_shown() -> None:
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
    webhook = {"url": "https://hooks.example.org/", "secret": secret}
    one = step("a")
    one["job"]["webhook"] = webhook
    made = schedule(one, webhook=webhook, job={**JOB, "webhook": webhook})
    assert secret not in str(made.public())
    assert str(made.public()).count("hooks.example.org") == 3
    # It is kept with the job that is submitted.
    kept = made.then[0].job.reading("job_" + "0" * 26).webhook
    assert kept is not None
    assert kept.secret.get_secret_value() == secret


def state(step: str | None, status: str, at: int = 1) -> StepState:
    return StepState(step=step, job="job", status=status, at=at)


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["completed"], "completed"),
        (["completed", "skipped"], "completed"),
        (["completed", "cancelled", "failed"], "failed"),
        (["completed", "cancelled", "skipped"], "cancelled"),
        (["deleted", "expired"], "expired"),
        (["refused", "skipped"], "refused"),
    ],
)
def test_what_a_run_comes_to(statuses: list[str], status: str) -> None:
    assert decisive([state(str(n), one) for n, one in enumerate(statuses)]).status == status
