"""Schedules: the values, the calls, and ``tm.schedules``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from textmill.call import Ask, Call, ask, call
from textmill.corpus import Corpus, to_corpus
from textmill.deliveries import Delivery, to_delivery
from textmill.errors import WaitTimeout
from textmill.job_calls import Adopt, J
from textmill.paging import MAX_PAGE, Page, every, parse_time, to_page
from textmill.transport import Transport

if TYPE_CHECKING:
    from textmill.job import Job
    from textmill.jobs import Jobs

#: Status of a run that goes on, and seconds between two looks whether it does.
OPEN, POLL_SECONDS = "open", 1.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Jobs that are submitted by the clock."""

    id: str
    name: str = ""
    cron: str | None = None
    every: int | None = None  #: seconds
    timezone: str = "UTC"
    job: Mapping[str, Any] = field(default_factory=dict)  #: what each firing submits
    then: tuple[Mapping[str, Any], ...] = ()  #: the jobs that follow it
    webhook: str | None = None  #: URL that it tells
    incremental: bool = False  #: whether rows that did not change keep their output
    keep: Mapping[str, int | None] | None = None  #: which ``runs`` and ``days`` are kept; None: all
    paused: str | None = None  #: why it does not fire; None: it does
    late_since: datetime | None = None  #: since when a run should have completed
    next_fire_times: tuple[datetime, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class RunJob:
    """One job of a run."""

    job: str  #: its id
    status: str  #: that of the job, ``waiting``, ``skipped``, ``refused`` or ``deleted``
    step: str | None = None  #: None: the schedule's own job
    reason: str | None = None  #: why it was skipped


@dataclass(frozen=True, kw_only=True)
class Run:
    """What became of one firing."""

    id: str
    schedule: str
    status: str  #: ``open``, how its job ended, ``refused``, ``missed`` or ``overlap``
    fire_at: datetime | None = None
    job: str | None = None  #: id of its first job
    jobs: tuple[RunJob, ...] = ()  #: all its jobs, each behind the one that it follows
    reason: str | None = None  #: why it was left out
    manual: bool = False  #: whether it was triggered
    late: bool = False  #: whether it was missed and is made up for
    full: bool = False  #: whether every row is computed
    corpus: Corpus | None = None  #: of an incremental run that has ended
    ended_at: datetime | None = None
    removed_at: datetime | None = None  #: since when its job and what it wrote are gone
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def to_schedule(raw: Mapping[str, Any]) -> Schedule:
    """A schedule from the API's object."""
    times = (parse_time(one) for one in raw.get("next_fire_times") or ())
    return Schedule(
        id=str(raw["id"]),
        name=raw.get("name") or "",
        cron=raw.get("cron"),
        every=raw.get("every"),
        timezone=str(raw.get("timezone") or "UTC"),
        job=raw.get("job") or {},
        then=tuple(raw.get("then") or ()),
        webhook=(raw.get("webhook") or {}).get("url"),
        incremental=bool(raw.get("incremental")),
        keep=raw.get("keep"),
        paused=(raw.get("paused") or {}).get("message"),
        late_since=parse_time(raw.get("late_since")),
        next_fire_times=tuple(one for one in times if one is not None),
        raw=raw,
    )


def to_run(raw: Mapping[str, Any]) -> Run:
    """A run from the API's object."""
    return Run(
        id=str(raw["id"]),
        schedule=str(raw["schedule"]),
        status=str(raw["status"]),
        fire_at=parse_time(raw.get("fire_at")),
        job=raw.get("job"),
        jobs=tuple(_to_run_job(one) for one in raw.get("jobs") or ()),
        reason=raw.get("reason"),
        manual=bool(raw.get("manual")),
        late=bool(raw.get("late")),
        full=bool(raw.get("full")),
        corpus=to_corpus(raw.get("corpus")),
        ended_at=parse_time(raw.get("ended_at")),
        removed_at=parse_time(raw.get("removed_at")),
        raw=raw,
    )


def _to_run_job(raw: Mapping[str, Any]) -> RunJob:
    return RunJob(
        job=str(raw["job"]),
        status=str(raw["status"]),
        step=raw.get("step"),
        reason=raw.get("reason"),
    )


def create_schedule(body: Mapping[str, Any], key: str | None) -> Ask[Schedule]:
    """Make a schedule."""
    return ask(call("POST", "schedules", body=body).keyed(key), to_schedule)


def get_schedule(schedule_id: str) -> Ask[Schedule]:
    """One schedule as it is now."""
    return ask(call("GET", "schedules", schedule_id), to_schedule)


def change_schedule(schedule_id: str, changes: Mapping[str, Any]) -> Ask[Schedule]:
    """Change a schedule. Made twice it is the same."""
    request = call("PATCH", "schedules", schedule_id, body=changes, repeatable=True)
    return ask(request, to_schedule)


def pause_schedule(schedule_id: str) -> Ask[Schedule]:
    """Pause a schedule."""
    return ask(call("POST", "schedules", schedule_id, "pause", repeatable=True), to_schedule)


def resume_schedule(schedule_id: str) -> Ask[Schedule]:
    """Resume a schedule."""
    return ask(call("POST", "schedules", schedule_id, "resume", repeatable=True), to_schedule)


def trigger_schedule(schedule_id: str, key: str | None, *, full: bool) -> Ask[Run]:
    """Make a run; a key is made up when not given, so that a call whose answer was lost makes no other."""
    request = call("POST", "schedules", schedule_id, "trigger", body={"full": full})
    return ask(request.keyed(key), to_run)


def page_of_deliveries(
    schedule_id: str, *, after: str | None, limit: int | None
) -> Ask[Page[Delivery]]:
    """One page of what a schedule's webhook was told."""
    query = {"after": after, "limit": limit}
    request = call("GET", "schedules", schedule_id, "deliveries", query=query)
    return ask(request, lambda raw: to_page(raw, to_delivery))


def resend_delivery(schedule_id: str, delivery_id: str) -> Ask[Delivery]:
    """Tell a schedule's webhook again."""
    path = ("schedules", schedule_id, "deliveries", delivery_id, "resend")
    return ask(call("POST", *path, repeatable=True), to_delivery)


def preview_schedule(adopt: Adopt[J], schedule_id: str, key: str | None, *, full: bool) -> Ask[J]:
    """Have a run counted; a key is made up when not given."""
    request = call("POST", "schedules", schedule_id, "preview", body={"full": full})
    return ask(request.keyed(key), adopt)


def delete_schedule(schedule_id: str) -> Call:
    """Delete a schedule."""
    return call("DELETE", "schedules", schedule_id)


def page_of_schedules(*, after: str | None, limit: int | None) -> Ask[Page[Schedule]]:
    """One page of schedules."""
    request = call("GET", "schedules", query={"after": after, "limit": limit})
    return ask(request, lambda raw: to_page(raw, to_schedule))


def page_of_runs(schedule_id: str, *, after: str | None, limit: int | None) -> Ask[Page[Run]]:
    """One page of a schedule's runs."""
    query = {"after": after, "limit": limit}
    request = call("GET", "schedules", schedule_id, "runs", query=query)
    return ask(request, lambda raw: to_page(raw, to_run))


def late(run: Run) -> WaitTimeout:
    """That a run has not ended in the time that somebody would wait."""
    return WaitTimeout(f"run {run.id} has not ended in time; it goes on")


class Schedules:
    """``tm.schedules``: jobs that are submitted by the clock."""

    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    def create(
        self, *, job: Mapping[str, Any], idempotency_key: str | None = None, **fields: Any
    ) -> Schedule:
        """Make a schedule.

        Args:
            job: what each firing submits, as the body of ``POST /v1/jobs``.
            idempotency_key: the same key always gives the same schedule.
            fields: the others, such as ``cron="30 2 * * *"`` or ``every=3600``, ``timezone``, ``missed``, ``overlap``,
                ``then`` (jobs that follow), ``webhook`` (``url`` and ``secret``), ``keep={"runs": 30}``.

        Raises:
            InvalidRequest: a field is wrong; ``errors`` says which.
        """
        return self._transport.ask(create_schedule({**fields, "job": job}, idempotency_key))

    def get(self, schedule_id: str) -> Schedule:
        """One schedule as it is now."""
        return self._transport.ask(get_schedule(schedule_id))

    def page(self, *, after: str | None = None, limit: int | None = None) -> Page[Schedule]:
        """One page of schedules."""
        return self._transport.ask(page_of_schedules(after=after, limit=limit))

    def list(self) -> Iterator[Schedule]:
        """All schedules."""
        return every(lambda after: self.page(after=after, limit=MAX_PAGE))

    def change(self, schedule_id: str, **fields: Any) -> Schedule:
        """Change a schedule: these fields are replaced, the others stay."""
        return self._transport.ask(change_schedule(schedule_id, fields))

    def pause(self, schedule_id: str) -> Schedule:
        """Let it fire no more until it is resumed."""
        return self._transport.ask(pause_schedule(schedule_id))

    def resume(self, schedule_id: str) -> Schedule:
        """Let it fire again. What was due meanwhile is not made up for."""
        return self._transport.ask(resume_schedule(schedule_id))

    def trigger(
        self, schedule_id: str, *, full: bool = False, idempotency_key: str | None = None
    ) -> Run:
        """Make a run now, also of a paused schedule.

        Args:
            schedule_id: the schedule.
            full: compute every row, also those of which an incremental schedule has the output.
            idempotency_key: the same key always gives the same run.
        """
        return self._transport.ask(trigger_schedule(schedule_id, idempotency_key, full=full))

    def preview(
        self, schedule_id: str, *, full: bool = False, idempotency_key: str | None = None
    ) -> Job:
        """Have it counted what a run would process now, by a job that computes nothing.

        Wait for the job: it ends with an ``estimate``, that of an incremental schedule also with its ``corpus``.

        Args:
            schedule_id: the schedule.
            full: of a run that computes every row.
            idempotency_key: the same key always gives the same preview.
        """
        return self._transport.ask(
            preview_schedule(self._jobs.adopt, schedule_id, idempotency_key, full=full)
        )

    def wait(self, run: Run, *, timeout: float | None = None) -> Run:
        """Wait until a run has ended with all its jobs; as it ended, however that was.

        Args:
            run: as :meth:`trigger` or :meth:`runs` gave it.
            timeout: seconds to wait at most.

        Raises:
            WaitTimeout: it has not ended in time. It goes on.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        while run.status == OPEN:
            if give_up is not None and time.monotonic() >= give_up:
                raise late(run)
            time.sleep(POLL_SECONDS)
            run = next((one for one in self.runs(run.schedule) if one.id == run.id), run)
        return run

    def page_of_deliveries(
        self, schedule_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Page[Delivery]:
        """One page of what its webhook was told."""
        return self._transport.ask(page_of_deliveries(schedule_id, after=after, limit=limit))

    def deliveries(self, schedule_id: str) -> Iterator[Delivery]:
        """What its webhook was told, and what came of it."""
        return every(
            lambda after: self.page_of_deliveries(schedule_id, after=after, limit=MAX_PAGE)
        )

    def resend(self, schedule_id: str, delivery_id: str) -> Delivery:
        """Tell its webhook again: the same event under the same id."""
        return self._transport.ask(resend_delivery(schedule_id, delivery_id))

    def delete(self, schedule_id: str) -> None:
        """Delete it with its history. Its jobs stay."""
        self._transport.send(delete_schedule(schedule_id))

    def page_of_runs(
        self, schedule_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Page[Run]:
        """One page of its runs, newest first."""
        return self._transport.ask(page_of_runs(schedule_id, after=after, limit=limit))

    def runs(self, schedule_id: str) -> Iterator[Run]:
        """What became of each firing, newest first; those that were left out too."""
        return every(lambda after: self.page_of_runs(schedule_id, after=after, limit=MAX_PAGE))
