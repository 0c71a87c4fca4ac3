"""Jobs, as the API shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.schemas.base import Time, View, page_of
from jobs.outtake import OutputFormat
from jobs.spec import OutputLayout
from jobs.states import Priority, Status


class RequestCounts(View):
    """Rows of a job."""

    total: int | None = Field(
        ge=0, description="Rows of the input; null until planning has ended.", examples=[1000]
    )
    completed: int = Field(ge=0, description="Rows with a result.", examples=[997])
    failed: int = Field(ge=0, description="Rows with an error.", examples=[3])


class JobProgress(View):
    """How far a job is."""

    fraction: float | None = Field(
        ge=0, le=1, description="Share that is done, 0 to 1.", examples=[0.25]
    )
    rows_per_second: float | None = Field(
        ge=0, description="Since the first row was begun.", examples=[412.5]
    )
    eta_seconds: float | None = Field(
        ge=0, description="Estimated seconds until the end.", examples=[90.0]
    )


class JobUsage(View):
    """What a job used."""

    input_tokens: int = Field(
        ge=0, description="Tokens of the rows that were read.", examples=[83000]
    )
    output_tokens: int = Field(ge=0, description="Tokens that were written.", examples=[0])
    device_seconds: float = Field(ge=0, description="Seconds of devices.", examples=[2.5])


class JobProblem(View):
    """Why a job failed."""

    code: str = Field(
        description="Stable code; docs/errors.md lists them.", examples=["empty_input"]
    )
    message: str = Field(
        description="What happened, for people.", examples=["The input holds no rows."]
    )
    field: str | None = Field(
        default=None,
        description="Field of the submission that is to blame.",
        examples=["input.file"],
    )


class JobOutput(View):
    """Where a job's output is written to as well."""

    format: OutputFormat = Field(description="How the rows are written.")
    uri: str = Field(
        description="The prefix; below it lies a folder of the job's id, or of the day.",
        examples=["s3://corpora/labelled/"],
    )
    layout: OutputLayout = Field(
        description="`job`: below a folder of the job's id; `date`: below one of its day."
    )


class JobLinks(View):
    """Where to go on from a job."""

    self: str = Field(description="The job.", examples=["/v1/jobs/job_01k5b3w7m3v9q8z2c4x6t1n0ra"])
    results: str = Field(
        description="Its result rows.", examples=["/v1/jobs/job_01k5b3w7m3v9q8z2c4x6t1n0ra/results"]
    )
    errors: str = Field(
        description="Its error rows.", examples=["/v1/jobs/job_01k5b3w7m3v9q8z2c4x6t1n0ra/errors"]
    )
    evaluation: str | None = Field(default=None, description="How good its results are.")
    deliveries: str | None = Field(
        default=None, description="What its webhook was told, where it has one."
    )
    cancel: str = Field(
        description="Post here to cancel it.",
        examples=["/v1/jobs/job_01k5b3w7m3v9q8z2c4x6t1n0ra/cancel"],
    )
    retry: str = Field(
        description="Post here to try its failed rows again.",
        examples=["/v1/jobs/job_01k5b3w7m3v9q8z2c4x6t1n0ra/retry"],
    )


class JobView(View):
    """A job at one moment."""

    id: str = Field(description="Names the job.", examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra"])
    object: Literal["job"] = Field(description="Always `job`.")
    kind: str = Field(description="Task kind.", examples=["classify"])
    name: str | None = Field(description="Name for people.", examples=["nightly-tickets"])
    status: Status = Field(
        description="Ended are `completed`, `failed`, `expired` and `cancelled`. A completed job may have error rows."
    )
    model: dict[str, Any] | None = Field(
        description="The model as resolved: `ref` with its version; later `engine`, `precision` and more.",
        examples=[{"ref": "registry:tickets@2", "engine": "torch", "precision": "bf16"}],
    )
    priority: Priority = Field(description="Higher ones are served first.")
    metadata: dict[str, str] = Field(description="As submitted.", examples=[{"team": "support"}])
    request_counts: RequestCounts = Field(description="Rows.")
    progress: JobProgress = Field(description="How far it is.")
    created_at: Time = Field(description="When it was submitted.")
    started_at: Time | None = Field(description="When its first rows were begun.")
    ended_at: Time | None = Field(description="When it ended.")
    expires_at: Time | None = Field(description="When its completion window passes.")
    attempts: int = Field(ge=1, description="1, and 1 more with each retry.", examples=[1])
    waiting: str | None = Field(
        description="What keeps it from going on just now.", examples=[None]
    )
    training: dict[str, Any] | None = Field(
        description="How far a training is: step, loss, checkpoint, `processes`, `warnings` and more."
    )
    evaluation: dict[str, Any] | None = Field(
        description="How good the results are, of a job that asked."
    )
    usage: JobUsage = Field(description="What it used so far.")
    output: JobOutput | None = Field(
        description="Where its output is written to as well, as submitted."
    )
    error: JobProblem | None = Field(description="Why it failed.")
    warnings: list[dict[str, Any]] = Field(
        description="What planning noticed, such as repeated ids; an output that could not be written."
    )
    links: JobLinks = Field(description="Where to go on.")


JobPage = page_of(JobView)
