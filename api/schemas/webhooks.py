"""Deliveries of webhooks, as the API shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.schemas.base import Time, View, page_of
from storage.webhooks import KEPT_ATTEMPTS, DeliveryStatus


class AttemptView(View):
    """One attempt to deliver."""

    at: Time = Field(description="When it began.")
    seconds: float = Field(description="How long it took.")
    status: int | None = Field(
        description="The HTTP status that the receiver answered; null where there was no answer.",
        examples=[503],
    )
    error: str | None = Field(
        description="Why there was no answer; docs/errors.md lists the codes.", examples=["timeout"]
    )


class DeliveryView(View):
    """An event on its way to a webhook."""

    id: str = Field(
        description="Names the event, and is the header `webhook-id` of every attempt.",
        examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra:1:completed"],
    )
    object: Literal["delivery"] = Field(description="Always `delivery`.")
    job: str | None = Field(
        description="The job whose end it tells; null where it tells of a schedule.",
        examples=["job_01k5b3w7m3v9q8z2c4x6t1n0ra"],
    )
    schedule: str | None = Field(
        description="The schedule that it tells of; null where it tells of a job.", examples=[None]
    )
    type: str = Field(description="What the event says.", examples=["job.completed"])
    status: DeliveryStatus = Field(
        description="`pending` while it is attempted; `delivered` once the receiver answered 2xx; `gone` where it "
        "answered 410; `failed` once a day had passed."
    )
    created_at: Time = Field(description="When it happened, such as the job's end.")
    next_attempt_at: Time | None = Field(description="When it is attempted next.")
    attempt_count: int = Field(description="Attempts so far.")
    attempts: list[AttemptView] = Field(
        description=f"Attempts, oldest first; of more than {KEPT_ATTEMPTS} the newest."
    )


DeliveryPage = page_of(DeliveryView)
