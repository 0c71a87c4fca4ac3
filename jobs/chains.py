"""Chains: the further jobs of a schedule's run, each of which reads the results of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from jobs.record import JobRecord
from jobs.spec import JobSpec, JobTemplate, RowsSpec, check_max_errors
from jobs.states import Status

#: Steps that may follow a schedule's job.
MOST_STEPS = 10

#: What the name of a step may be.
STEP_PATTERN = "^[a-z0-9][a-z0-9_-]{0,39}$"

StepName = Annotated[str, StringConstraints(pattern=STEP_PATTERN)]


class StepRows(RowsSpec):
    """Which values of the results make a row. Whose results they are, the chain says."""

    @model_validator(mode="after")
    def _text(self) -> StepRows:
        self._require_text()
        return self


class StepJob(JobTemplate):
    """A submission that reads the results of the job that it follows."""

    input: StepRows = Field(description="Which of the results are read, and how.")

    def reading(self, job_id: str) -> JobSpec:
        """The submission, once it is known whose results it reads."""
        entry = self.model_dump(mode="json")
        return JobSpec.model_validate({**entry, "input": {**entry["input"], "job": job_id}})


class When(BaseModel):
    """What must hold of a job for another to follow it; all that is given."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    status: Literal["completed"] = Field(
        default="completed",
        description="How it ended; there are no results to go on with otherwise.",
    )
    max_errors: int | str | None = Field(
        default=None,
        description="No more of its rows failed: a number, or a percentage of all rows.",
        examples=["1%"],
    )
    min_rows: Annotated[int, Field(ge=0, le=10**12)] | None = Field(
        default=None, description="It has so many results or more.", examples=[100]
    )

    @field_validator("max_errors", mode="before")
    @classmethod
    def _max_errors(cls, value: object) -> object:
        return check_max_errors(value)

    def unmet(self, record: JobRecord) -> str | None:
        """Why a job is not followed; None where it is."""
        if record.status != self.status:
            return f"its job is {record.status}"
        total = record.total or 0
        if self.max_errors is not None:
            limit: float = 0
            if isinstance(self.max_errors, str):
                # As jobs are judged: the half of a millionth undoes the rounding of 0.29 * 100 = 28.999….
                limit = int(float(self.max_errors.rstrip("%")) / 100 * total + 5e-7)
            else:
                limit = self.max_errors
            if record.failed > limit:
                return f"{record.failed} of {total} rows failed; max_errors: {self.max_errors}"
        if self.min_rows is not None and record.completed < self.min_rows:
            return f"{record.completed} rows have results; min_rows: {self.min_rows}"
        return None


class Step(BaseModel):
    """One further job of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: StepName = Field(
        description="Names the step within its schedule: lower-case letters, digits, - and _.",
        examples=["classify"],
    )
    after: StepName | None = Field(
        default=None,
        description="Name of the step whose results it reads; null: the schedule's job. By default the step before it "
        "in the list.",
        examples=["translate"],
    )
    job: StepJob = Field(description="What it submits: a submission without a source.")
    when: When = Field(
        default_factory=When, description="What must hold of the job that it follows."
    )


def with_predecessors(steps: object) -> object:
    """Steps as they came, each with the one that it follows; what is not made as steps are is left alone."""
    if not isinstance(steps, Sequence) or isinstance(steps, str | bytes):
        return steps
    before: object = None
    named: list[object] = []
    for step in steps:
        if not isinstance(step, Mapping):
            named.append(step)
            continue
        named.append({"after": before, **step})
        before = step.get("name")
    return named


def check_steps(steps: Sequence[Step]) -> None:
    """
    Raises:
        ValueError: a name stands twice, a step follows one that is not there, or they follow one another in a circle.
    """
    follows: dict[str, str | None] = {}
    for step in steps:
        if step.name in follows:
            raise ValueError(f"expected each name once, found {step.name} twice")
        follows[step.name] = step.after
    for step in steps:
        if step.after is not None and step.after not in follows:
            known = ", ".join(follows)
            raise ValueError(f"{step.name} follows {step.after}, which is no step; known: {known}")
    for name in follows:
        path = [name]
        while (before := follows[path[-1]]) is not None:
            path.append(before)
            if before == name:
                raise ValueError(f"expected no circle, found {' after '.join(path)}")
            if len(path) > len(follows):
                break  # a circle further on, which is found from one of its own


def in_order(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps of a chain without circles, each behind the one that it follows."""
    known: set[str | None] = {None}
    left = list(steps)
    while left:
        for step in [one for one in left if one.after in known]:
            known.add(step.name)
            left.remove(step)
            yield step


@dataclass(frozen=True, kw_only=True)
class StepState:
    """How one job of a run stands."""

    step: str | None  #: None: the schedule's own job
    job: str  #: its id, also where it was not submitted
    #: That of its job; ``waiting`` for the one that it follows; ``skipped``; or, as of a run, ``refused``, ``deleted``.
    status: str
    reason: str | None = None  #: why it was skipped
    error: dict[str, Any] | None = None
    at: int = 0  #: ms: when it ended
    attempts: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more becomes of it, unless its job is tried again."""
        return self.status in ENDED

    def public(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"step": self.step, "job": self.job, "status": self.status, "reason": self.reason}


#: How a job of a run can end that counts as failed. A cancelled one is what somebody wanted.
FAILURES = frozenset({"failed", "expired", "refused"})

#: How a job of a run can stand for good.
ENDED = FAILURES | {"skipped", "deleted", *(status.value for status in Status if status.ended)}


def decisive(states: Sequence[StepState]) -> StepState:
    """Of the jobs of a run that has ended, the one that says how: the first that failed, else the first that did not
    complete, else the last that did."""
    done = [one for one in states if one.status != "skipped"]
    failed = [one for one in done if one.status in FAILURES]
    others = [one for one in done if one.status != Status.COMPLETED]
    return (failed or others or [max(done, key=lambda one: one.at)])[0]
