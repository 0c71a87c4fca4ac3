"""What happens to a job, as its followers are told."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.schemas.base import Time, View
from api.schemas.jobs import JobProblem, RequestCounts
from jobs.states import Status


class EventView(View):
    """The `data` of an event: the job as it was when it happened."""

    job: str = Field(description="Id of the job.", examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra"])
    at: Time = Field(description="When it happened.")
    status: Status = Field(description="Status of the job.")
    attempts: int = Field(description="1, and 1 more with each retry.")
    request_counts: RequestCounts = Field(description="Rows.")
    fraction: float | None = Field(description="Share that is done, 0 to 1; null while unknown.")
    error: JobProblem | None = Field(description="Of `status`: why the job failed.")
    waiting: str | None = Field(description="Of `progress`: what keeps the job from going on.")
    training: dict[str, Any] | None = Field(
        description="Of `training`: step, loss, learning rate, tokens a second, evaluation, checkpoint and more."
    )
