"""Usage, quotas and the audit log, as the API shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.schemas.base import Time, View, page_of


class UsageCounts(View):
    """What was used in some time."""

    requests: int = Field(description="Calls that were let in.")
    rows: int = Field(description="Rows that got a result.")
    failed_rows: int = Field(description="Rows that got an error.")
    input_tokens: int = Field(description="Tokens of the rows that were read.")
    output_tokens: int = Field(description="Tokens that were written.")
    device_seconds: float = Field(description="Seconds of devices.")
    bytes_uploaded: int = Field(description="Bytes of files that were uploaded.")


class DayUsage(UsageCounts):
    """What was used on one day."""

    day: str = Field(description="The day, in UTC.", examples=["2026-11-02"])


class QuotaView(View):
    """A quota and what is left of it."""

    name: Literal["rows_queued", "jobs_unfinished", "bytes_stored", "device_seconds_per_day"] = (
        Field(description="Its name, as `errors` of a refusal gives it.")
    )
    limit: float | None = Field(description="How much there is; null: as much as is wanted.")
    used: float = Field(description="How much is used now.")
    left: float | None = Field(description="How much is left; null where there is no limit.")
    resets_at: Time | None = Field(description="When `used` begins anew; null: as things end.")


class RateView(View):
    """Calls a second that the tenant may make."""

    read: float | None = Field(description="Calls that only look; null: any number.")
    write: float | None = Field(description="Calls that change something; null: any number.")


class UsageView(View):
    """What the caller's tenant used, and what it may use."""

    object: Literal["usage"] = Field(description="Always `usage`.")
    tenant: str = Field(description="The tenant.", examples=["default"])
    days: list[DayUsage] = Field(description="The days on which anything was used, in order.")
    total: UsageCounts = Field(description="All these days together.")
    quotas: list[QuotaView] = Field(description="All quotas.")
    rates: RateView = Field(description="Rate limits.")


class AuditEntryView(View):
    """One change that somebody made."""

    object: Literal["audit_entry"] = Field(description="Always `audit_entry`.")
    id: str = Field(
        description="Names the entry; sorts by time.",
        examples=["audit_1793650000000-000000000000000"],
    )
    at: Time = Field(description="When.")
    action: str = Field(description="What was done.", examples=["job.submit"])
    subject: str = Field(description="Id or name of what was changed.")
    key_id: str | None = Field(
        description="The key it was asked for with; null: an operator, on the command line."
    )
    address: str | None = Field(description="From where it was asked for.")
    request_id: str | None = Field(description="`X-Request-Id` of the call.")


AuditEntryPage = page_of(AuditEntryView)
