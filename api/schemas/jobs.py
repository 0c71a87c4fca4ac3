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


class JobSchedule(View):
    """The run of a schedule that a job belongs to."""

    id: str = Field(description="The schedule.", examples=["schedule_01k5b3w7m3v9q8z2c4x6t1n0ra"])
    run: str | None = Field(description="The run; null: the job is a preview.")
    step: str | None = Field(description="Which job of the run it is; null: the first.")


class JobCorpus(View):
    """What became of a corpus since the last completed run, in rows."""

    new: int = Field(ge=0, description="Known neither by id nor by content.", examples=[40])
    changed: int = Field(
        ge=0,
        description="Known by its id, with another content; or the model or the parameters are others.",
        examples=[12],
    )
    retried: int = Field(
        ge=0, description="The same as before, where they had no result.", examples=[1]
    )
    carried: int = Field(ge=0, description="With the output that they had before.", examples=[9000])
    computed: int = Field(ge=0, description="Good rows that were not carried.", examples=[53])
    gone: int = Field(
        ge=0, description="Rows that were there before and are not now.", examples=[7]
    )
    failed: int = Field(ge=0, description="Rows without a result in the end.", examples=[1])
    base: str | None = Field(
        description="The job that all this is in comparison with; null: there was none.",
        examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra"],
    )


class JobEstimate(View):
    """What a run would process."""

    rows: int = Field(ge=0, description="Of the input, bad ones included.", examples=[9053])
    bad: int = Field(ge=0, description="Rows that cannot be read, and will fail.", examples=[0])
    computed: int = Field(
        ge=0,
        description="Good rows whose output is not taken over from the run before.",
        examples=[53],
    )
    text_bytes: int = Field(ge=0, description="Of the texts of these.", examples=[21034])
    basis: Literal["last_runs", "speed"] | None = Field(
        description="What costs are reckoned from: what the schedule's last runs measured, or the speed of the last "
        "jobs of this kind and model; null: nothing like it was computed before."
    )
    input_tokens: int | None = Field(description="About so many will be read.", examples=[5011])
    output_tokens: int | None = Field(description="About so many will be written.", examples=[0])
    device_seconds: float | None = Field(
        description="About so long devices will work.", examples=[1.4]
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
    estimate: JobEstimate | None = Field(
        description="Of a preview: what a run of its schedule would process now."
    )
    corpus: JobCorpus | None = Field(
        description="What became of the corpus since the run before, of an incremental run of a schedule at its end."
    )
    schedule: JobSchedule | None = Field(
        description="The schedule whose job it is; null: it was submitted by itself."
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
