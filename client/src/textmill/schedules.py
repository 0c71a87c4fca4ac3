"""Schedules: the values, the calls, and ``tm.schedules``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from textmill.call import Ask, Call, ask, call
from textmill.paging import MAX_PAGE, Page, every, parse_time, to_page
from textmill.transport import Transport


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Jobs that are submitted by the clock."""

    id: str
    name: str = ""
    cron: str | None = None
    every: int | None = None  #: seconds
    timezone: str = "UTC"
    job: Mapping[str, Any] = field(default_factory=dict)  #: what each firing submits
    keep: Mapping[str, int | None] | None = None  #: which ``runs`` and ``days`` are kept; None: all
    paused: str | None = None  #: why it does not fire; None: it does
    late_since: datetime | None = None  #: since when a run should have completed
    next_fire_times: tuple[datetime, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What became of one firing."""

    id: str
    status: str  #: ``open``, how its job ended, ``refused``, ``missed`` or ``overlap``
    fire_at: datetime | None = None
    job: str | None = None  #: its id
    reason: str | None = None  #: why it was left out
    manual: bool = False  #: whether it was triggered
    late: bool = False  #: whether it was missed and is made up for
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
        status=str(raw["status"]),
        fire_at=parse_time(raw.get("fire_at")),
        job=raw.get("job"),
        reason=raw.get("reason"),
        manual=bool(raw.get("manual")),
        late=bool(raw.get("late")),
        ended_at=parse_time(raw.get("ended_at")),
        removed_at=parse_time(raw.get("removed_at")),
        raw=raw,
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


def trigger_schedule(schedule_id: str) -> Ask[Run]:
    """Make a run. Never repeated when an answer was lost: it would make another."""
    return ask(call("POST", "schedules", schedule_id, "trigger"), to_run)


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


class Schedules:
    """``tm.schedules``: jobs that are submitted by the clock."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, *, job: Mapping[str, Any], idempotency_key: str | None = None, **fields: Any
    ) -> Schedule:
        """Make a schedule.

        Args:
            job: what each firing submits, as the body of ``POST /v1/jobs``.
            idempotency_key: the same key always gives the same schedule.
            fields: the others, such as ``cron="30 2 * * *"`` or ``every=3600``, ``timezone``, ``missed``, ``overlap``,
                ``keep={"runs": 30}``.

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

    def trigger(self, schedule_id: str) -> Run:
        """Make a run now, also of a paused schedule.

        Raises:
            ConnectionFailed: the answer was lost. A run may have been made: :meth:`runs` shows it.
        """
        return self._transport.ask(trigger_schedule(schedule_id))

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
