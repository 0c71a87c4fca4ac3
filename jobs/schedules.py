"""What a schedule is, and what it decides: pure values and functions, without a clock of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice, takewhile
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from jobs.chains import MOST_STEPS, Step, check_steps, with_predecessors
from jobs.spec import JobSpec
from jobs.timing import CRON_PATTERN, MOST_CRON, Timing, check_cron, parse_moment, zone
from jobs.webhooks import WebhookSpec

#: A firing that is decided so many ms late at most is on time; later ones were missed, for nobody was there.
ON_TIME_MS = 300_000

#: Firings of a schedule that are decided in one go.
MOST_DECIDED = 200

_DAY = 86_400
_MOMENT = r"^2[01][0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,15}(Z|[+-][0-9]{2}:[0-9]{2})$"


class Missed(StrEnum):
    """What becomes of firings for which no scheduler was there in time."""

    RUN_ONCE = "run_once"  #: the newest is made up for, the others are not
    RUN_ALL = "run_all"  #: each is made up for, one after another
    SKIP = "skip"  #: none is


class Overlap(StrEnum):
    """What becomes of a firing while the run before it has not ended."""

    SKIP = "skip"  #: it is left out
    QUEUE = "queue"  #: it waits until that run has ended
    CANCEL_PREVIOUS = "cancel_previous"  #: that run is cancelled


def _whole(value: Any) -> Any:
    # In JSON Schema 10.0 is an integer too, and some clients write it so.
    return int(value) if isinstance(value, float) and value.is_integer() else value


_WHOLE = BeforeValidator(_whole)


class Keep(BaseModel):
    """Which runs of a schedule are kept: those that either limit keeps."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    runs: Annotated[int, Field(ge=1, le=10_000), _WHOLE] | None = Field(
        default=None, description="So many of the newest completed runs.", examples=[30]
    )
    days: Annotated[int, Field(ge=1, le=36_600), _WHOLE] | None = Field(
        default=None, description="Runs that fired within so many days.", examples=[90]
    )


class ScheduleFields(BaseModel):
    """What may be said of a schedule, by the form of each field."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str | None = Field(
        default=None, max_length=200, description="A name for people.", examples=["nightly-tickets"]
    )
    cron: str | None = Field(
        default=None,
        max_length=MOST_CRON,
        pattern=CRON_PATTERN,
        description="Five fields: minute, hour, day of the month, month, day of the week. Either this or `every`.",
        examples=["30 2 * * *"],
    )
    every: Annotated[int, Field(ge=60, le=366 * _DAY), _WHOLE] | None = Field(
        default=None,
        description="Seconds between two firings, at least 60, counted from `starts_at` or else from when the schedule "
        "was made.",
        examples=[None],
    )
    timezone: str = Field(
        default="UTC",
        max_length=64,
        description="IANA time zone that `cron` is meant in.",
        examples=["Europe/Berlin"],
    )
    starts_at: str | None = Field(
        default=None,
        max_length=40,
        pattern=_MOMENT,
        description="No firing before this moment (RFC 3339 with an offset).",
        examples=["2026-11-02T22:00:00Z"],
    )
    ends_at: str | None = Field(
        default=None,
        max_length=40,
        pattern=_MOMENT,
        description="No firing from this moment on.",
        examples=["2036-11-02T22:00:00Z"],
    )
    jitter_seconds: Annotated[int, Field(ge=0, le=3600), _WHOLE] = Field(
        default=0,
        description="Each firing is made up to so many seconds later, always the same for the same firing.",
    )
    missed: Annotated[Missed, Field(strict=False)] = Field(
        default=Missed.RUN_ONCE,
        description="What becomes of firings that were missed because no scheduler ran: `run_once` makes up for the "
        "newest, `run_all` for each, one after another, `skip` for none.",
    )
    missed_window_seconds: Annotated[int, Field(ge=300, le=31 * _DAY), _WHOLE] = Field(
        default=_DAY,
        description="Firings missed longer ago than this are never made up for.",
    )
    overlap: Annotated[Overlap, Field(strict=False)] = Field(
        default=Overlap.SKIP,
        description="What becomes of a firing while an earlier run has not ended: `skip` leaves it out, `queue` lets "
        "it wait, `cancel_previous` cancels that run.",
    )
    retries: Annotated[int, Field(ge=0, le=10), _WHOLE] = Field(
        default=0,
        description="How often a run that failed or expired is tried again, as `POST /v1/jobs/{job_id}/retry` does.",
    )
    pause_after_failures: Annotated[int, Field(ge=1, le=100), _WHOLE] | None = Field(
        default=None,
        description="Pause the schedule after so many failed runs in a row; null: never.",
        examples=[3],
    )
    complete_within_seconds: Annotated[int, Field(ge=60, le=31 * _DAY), _WHOLE] | None = Field(
        default=None,
        description="Time after a firing in which its run should have completed; the schedule counts as late after it. "
        "Null: until the next firing.",
        examples=[21_600],
    )
    incremental: bool = Field(
        default=False,
        description="Compute only rows whose text, fields, model or parameters are others than in the last completed "
        "run; the outputs of all other rows are taken over, so that each run's results are complete.",
        examples=[True],
    )
    keep: Keep | None = Field(
        default=None,
        description="Which runs are kept; the jobs of older ones are deleted with the output that they wrote, once a "
        "newer run has ended. The last completed run is always kept. Null, or without a limit: all are.",
        examples=[{"runs": 30}],
    )

    @field_validator("keep")
    @classmethod
    def _limited(cls, value: Keep | None) -> Keep | None:
        # One that names no limit keeps everything, and never nothing.
        limited = value is not None and (value.runs is not None or value.days is not None)
        return value if limited else None


class ScheduleSpec(ScheduleFields):
    """A schedule as it was asked for: the body of ``POST /v1/schedules``."""

    job: JobSpec = Field(description="The job that each firing submits.")
    then: list[Step] = Field(
        default_factory=list,
        max_length=MOST_STEPS,
        description="Jobs that follow it in the same run, each of which reads the results of another.",
    )
    webhook: WebhookSpec | None = Field(
        default=None,
        description="Whom to tell when the schedule is late or no longer so, when a run failed for good, and when "
        "failures paused it.",
    )

    @field_validator("then", mode="before")
    @classmethod
    def _predecessors(cls, value: object) -> object:
        return with_predecessors(value)

    @field_validator("then")
    @classmethod
    def _steps(cls, value: list[Step]) -> list[Step]:
        check_steps(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        zone(value)
        return value

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        if value is not None:
            check_cron(value)
        return value

    @field_validator("starts_at", "ends_at")
    @classmethod
    def _moment(cls, value: str | None) -> str | None:
        if value is not None:
            parse_moment(value)
        return value

    @model_validator(mode="after")
    def _whole(self) -> ScheduleSpec:
        if (self.cron is None) == (self.every is None):
            raise ValueError("expected exactly one of cron and every")
        bounds = [parse_moment(one) for one in (self.starts_at, self.ends_at) if one]
        if len(bounds) == 2 and bounds[0] >= bounds[1]:
            raise ValueError("expected ends_at to be later than starts_at")
        return self

    def timing(self, anchor: int) -> Timing:
        """When it fires.

        Args:
            anchor: where intervals are counted from unless it has a start, in ms.
        """
        starts = None if self.starts_at is None else parse_moment(self.starts_at)
        return Timing(
            cron=self.cron,
            every=self.every,
            timezone=self.timezone,
            anchor=anchor if starts is None else starts,
            starts_at=starts,
            ends_at=None if self.ends_at is None else parse_moment(self.ends_at),
        )

    def patched(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The body that it would be with other values for some fields."""
        return {**self.model_dump(mode="json"), **changes}

    def public(self) -> dict[str, Any]:
        """As the API shows it: without the secrets of webhooks."""
        entry = self.model_dump(mode="json")
        jobs = [entry["job"], *(step["job"] for step in entry["then"])]
        for one in (entry, *jobs):
            if one.get("webhook"):
                one["webhook"].pop("secret")
        return entry


class ScheduleChange(ScheduleFields):
    """The body of ``PATCH /v1/schedules/{schedule_id}``: fields that are to be others; what is left out stays.

    Only its form is checked here: what the schedule is then is checked as a new one's is.
    """

    job: dict[str, Any] | None = Field(
        default=None,
        description="The job that each firing submits, whole: the body of a submission.",
        examples=[{"kind": "classify", "input": {"uri": "s3://corpora/reviews/"}}],
    )
    then: list[dict[str, Any]] | None = Field(
        default=None,
        max_length=MOST_STEPS,
        description="The jobs that follow it, all of them; an empty list: none.",
        examples=[[]],
    )
    webhook: dict[str, str] | None = Field(
        default=None,
        description="Whom to tell: `url` and `secret`; null: nobody.",
        examples=[None],
    )

    def changes(self) -> dict[str, Any]:
        """What was given."""
        return self.model_dump(mode="json", include=self.model_fields_set)


#: Fields that say when a schedule fires.
TIMING_FIELDS = ("cron", "every", "timezone", "starts_at", "ends_at", "jitter_seconds")

Verdict = Literal["on_time", "late", "missed"]


@dataclass(frozen=True, kw_only=True)
class Firing:
    """One firing that is due, and what its schedule says of it."""

    fire_at: int  #: ms: names it
    due_at: int  #: ms: with its jitter
    verdict: Verdict  #: ``late``: it was missed and is made up for


def jitter_ms(schedule_id: str, fire_at: int, seconds: int) -> int:
    """By how much a firing is put off, the same whoever asks: 0 to ``seconds``, in ms."""
    if not seconds:
        return 0
    digest = hashlib.sha256(f"{schedule_id}:{fire_at}".encode()).digest()
    return int.from_bytes(digest[:8]) % (seconds * 1000 + 1)


def firings(
    schedule_id: str, spec: ScheduleSpec, anchor: int, after: int
) -> Iterator[tuple[int, int]]:
    """The firings after a moment, as pairs of fire time and due time in ms; computed one by one."""
    for one in spec.timing(anchor).after(after):
        yield one, one + jitter_ms(schedule_id, one, spec.jitter_seconds)


def decide(
    schedule_id: str, spec: ScheduleSpec, anchor: int, *, after: int, now: int
) -> list[Firing]:
    """What is due, oldest first, with what becomes of each as far as lateness goes; at most ``MOST_DECIDED``.

    Args:
        schedule_id: whose jitter counts.
        spec: the schedule.
        anchor: where its intervals are counted from, in ms.
        after: fire time of the last firing that was decided, or since when the schedule counts, in ms.
        now: ms.
    """
    # In order of their fire times, also where jitter would turn two of them round.
    coming = takewhile(lambda one: one[1] <= now, firings(schedule_id, spec, anchor, after))
    due = list(islice(coming, MOST_DECIDED + 1))
    more = len(due) > MOST_DECIDED
    due = due[:MOST_DECIDED]
    decided = []
    for number, (fire_at, due_at) in enumerate(due):
        newest = number == len(due) - 1 and not more
        verdict = _verdict(spec, now - due_at, newest=newest)
        decided.append(Firing(fire_at=fire_at, due_at=due_at, verdict=verdict))
    return decided


def _verdict(spec: ScheduleSpec, late: int, *, newest: bool) -> Verdict:
    if late <= ON_TIME_MS:
        return "on_time"
    wanted = spec.missed is Missed.RUN_ALL or (spec.missed is Missed.RUN_ONCE and newest)
    return "late" if wanted and late <= spec.missed_window_seconds * 1000 else "missed"
