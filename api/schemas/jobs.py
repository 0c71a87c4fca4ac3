"""Jobs, as the API shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.schemas.base import Time, View, page_of
from jobs.states import Priority, Status


class RequestCounts(View):
    """Rows of a job."""

    total: int | None = Field(description="Rows of the input; null until planning has ended.")
    completed: int = Field(description="Rows with a result.")
    failed: int = Field(description="Rows with an error.")


class JobProgress(View):
    """How far a job is."""

    fraction: float | None = Field(description="Share that is done, 0 to 1.", examples=[0.25])
    rows_per_second: float | None = Field(description="Since the first row was begun.")
    eta_seconds: float | None = Field(description="Estimated seconds until the end.")


class JobUsage(View):
    """What a job used."""

    input_tokens: int = Field(description="Tokens of the rows that were read.")
    output_tokens: int = Field(description="Tokens that were written.")
    device_seconds: float = Field(description="Seconds of devices.")


class JobProblem(View):
    """Why a job failed."""

    code: str = Field(
        description="Stable code; docs/errors.md lists them.", examples=["empty_input"]
    )
    message: str = Field(description="What happened, for people.")
    field: str | None = Field(default=None, description="Field of the submission that is to blame.")


class JobLinks(View):
    """Where to go on from a job."""

    self: str = Field(description="The job.")
    results: str = Field(description="Its result rows.")
    errors: str = Field(description="Its error rows.")
    evaluation: str | None = Field(default=None, description="How good its results are.")
    cancel: str = Field(description="Post here to cancel it.")
    retry: str = Field(description="Post here to try its failed rows again.")


class JobView(View):
    """A job at one moment."""

    id: str = Field(description="Names the job.", examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra"])
    object: Literal["job"] = Field(description="Always `job`.")
    kind: str = Field(description="Task kind.", examples=["classify"])
    name: str | None = Field(description="Name for people.")
    status: Status = Field(
        description="Ended are `completed`, `failed`, `expired` and `cancelled`. A completed job may have error rows."
    )
    model: dict[str, Any] | None = Field(
        description="The model as resolved: `ref` with its version; later `engine`, `precision` and more."
    )
    priority: Priority = Field(description="Higher ones are served first.")
    metadata: dict[str, str] = Field(description="As submitted.")
    request_counts: RequestCounts = Field(description="Rows.")
    progress: JobProgress = Field(description="How far it is.")
    created_at: Time = Field(description="When it was submitted.")
    started_at: Time | None = Field(description="When its first rows were begun.")
    ended_at: Time | None = Field(description="When it ended.")
    expires_at: Time | None = Field(description="When its completion window passes.")
    attempts: int = Field(description="1, and 1 more with each retry.")
    waiting: str | None = Field(description="What keeps it from going on just now.")
    training: dict[str, Any] | None = Field(
        description="How far a training is: step, loss, checkpoint, `processes`, `warnings` and more."
    )
    evaluation: dict[str, Any] | None = Field(
        description="How good the results are, of a job that asked."
    )
    usage: JobUsage = Field(description="What it used so far.")
    error: JobProblem | None = Field(description="Why it failed.")
    warnings: list[dict[str, Any]] = Field(
        description="What planning noticed, such as repeated ids."
    )
    links: JobLinks = Field(description="Where to go on.")


JobPage = page_of(JobView)
