"""Schedules and their runs, as the API shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.schemas.base import Time, View, page_of
from api.schemas.jobs import JobCorpus
from jobs.schedules import Keep, Missed, Overlap

_ID = "schedule_01k5b3w7m3v9q8z2c4x6t1n0ra"


class PausedView(View):
    """Why a schedule does not fire."""

    at: Time = Field(description="Since when.")
    code: str = Field(
        description="`asked`: somebody paused it; `too_many_failures`: so many runs failed in a row.",
        examples=["asked"],
    )
    message: str = Field(description="The same for people.")


class WebhookView(View):
    """Whom a schedule tells."""

    url: str = Field(
        description="Where events are posted.", examples=["https://hooks.example.org/textmill"]
    )


class ScheduleView(View):
    """A schedule."""

    object: Literal["schedule"] = Field(description="Always `schedule`.")
    id: str = Field(description="Names the schedule.", examples=[_ID])
    name: str | None = Field(description="For people.")
    cron: str | None = Field(description="When it fires; null: by `every`.")
    every: int | None = Field(description="Seconds between two firings; null: by `cron`.")
    timezone: str = Field(description="What `cron` is meant in.")
    starts_at: str | None = Field(description="No firing before.")
    ends_at: str | None = Field(description="No firing from then on.")
    jitter_seconds: int = Field(description="By how much a firing is put off at most.")
    missed: Missed = Field(description="What becomes of missed firings.")
    missed_window_seconds: int = Field(description="How long ago these may be.")
    overlap: Overlap = Field(description="What becomes of a firing while a run goes on.")
    retries: int = Field(description="How often a failed run is tried again.")
    pause_after_failures: int | None = Field(description="Failed runs in a row that pause it.")
    complete_within_seconds: int | None = Field(
        description="Time after a firing in which its run should have completed; null: until the next one."
    )
    incremental: bool = Field(
        description="Whether rows that did not change keep the output of the run before."
    )
    keep: Keep | None = Field(description="Which runs are kept; null: all.")
    job: dict[str, Any] = Field(
        description="The job that each firing submits, without the secret of its webhook.",
        examples=[{"kind": "classify", "input": {"uri": "s3://corpora/reviews/"}}],
    )
    then: list[dict[str, Any]] = Field(
        description="The jobs that follow it, without the secrets of their webhooks.",
        examples=[[]],
    )
    webhook: WebhookView | None = Field(description="Whom it tells; null: nobody.")
    revision: int = Field(description="Grows by one with each change.")
    created_at: Time = Field(description="When it was made.")
    changed_at: Time = Field(description="When it was last changed.")
    paused: PausedView | None = Field(description="Why it does not fire; null: it does.")
    late_since: Time | None = Field(
        description="Since when a run should have completed and has not; null: none is late."
    )
    next_fire_times: list[Time] = Field(
        description="When it fires next, without jitter: up to five times; none while it is paused."
    )


class RunJobView(View):
    """One job of a run."""

    step: str | None = Field(
        description="Name of the step; null: the schedule's own job.", examples=["classify"]
    )
    job: str = Field(
        description="Id of the job, which may still have to be submitted.",
        examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra"],
    )
    status: str = Field(
        description="That of the job; `waiting` while it is not submitted; `skipped`: what `when` asks for did not "
        "hold, or the job that it follows has not completed; `refused`: it could not be submitted; `deleted`: it was.",
        examples=["completed"],
    )
    reason: str | None = Field(description="Why it was skipped; else null.")


class RunView(View):
    """What became of one firing of a schedule."""

    object: Literal["run"] = Field(description="Always `run`.")
    id: str = Field(
        description="Names the run within its schedule: its time in ms, with an `m` where it was triggered.",
        examples=["1793656800000"],
    )
    schedule: str = Field(description="Id of its schedule.", examples=[_ID])
    fire_at: Time = Field(description="The time that it was for.")
    decided_at: Time = Field(description="When it was decided what becomes of it.")
    status: str = Field(
        description="`open` until its jobs have ended, then `completed`, or `failed`, `expired` or `cancelled` as one "
        "of them; "
        "`refused`: the job could not be submitted; `deleted`: it was deleted; `missed` and `overlap`: left out.",
        examples=["completed"],
    )
    reason: str | None = Field(description="Why it was left out; else null.")
    late: bool = Field(description="Whether it was missed and is made up for.")
    manual: bool = Field(description="Whether it was triggered.")
    full: bool = Field(description="Whether every row is computed, whatever is known of it.")
    job: str | None = Field(
        description="Id of its job, which may still have to be submitted; null where there is none.",
        examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra"],
    )
    jobs: list[RunJobView] = Field(description="All its jobs, each behind the one that it follows.")
    ended_at: Time | None = Field(description="When it ended.")
    removed_at: Time | None = Field(
        description="When its job was deleted with its output, as the schedule's `keep` says; null: it was not."
    )
    error: dict[str, Any] | None = Field(description="`code` and `message` of why it failed.")
    corpus: JobCorpus | None = Field(
        description="Of an incremental run that has ended: what became of the corpus."
    )
    links: dict[str, str] = Field(description="Where its job is.")


SchedulePage = page_of(ScheduleView)
RunPage = page_of(RunView)
