"""``/v1/jobs/{id}/events``: what happens to a job, as server-sent events."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator

from flask import Blueprint, Response, current_app, request
from pydantic import Field

from api.changes import Watch
from api.jobs import find
from api.metrics import metrics_of
from api.operations import Answer, HeaderField, operation
from api.requests import Flag, Query
from api.schemas.events import EventView
from api.schemas.jobs import RequestCounts
from api.services import Services, caller, services
from jobs.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated, Unavailable
from jobs.record import JobRecord, rfc3339
from jobs.scopes import Scope
from storage.keys import ApiKey
from storage.ledger import JobEvent, Told
from storage.ledger.events import Position

blueprint = Blueprint("events", __name__)

#: Seconds after which something is sent though nothing happens: proxies and clients take silence for a broken line.
HEARTBEAT_SECONDS = 15.0

#: Seconds after which a stream ends and its reader comes again.
_STREAM_SECONDS = 300.0

#: Milliseconds after which a reader whose connection broke should come again.
_RETRY_MS = 2_000

_POSITION = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

LAST_EVENT_ID = HeaderField(
    name="Last-Event-ID",
    description="The `id` of the last event that was seen: those behind it follow.",
    example="1793655600000-0",
    pattern=r"^[0-9]{1,20}-[0-9]{1,20}$",
)


class EventsQuery(Query):
    """How a job is followed."""

    follow: Flag = Field(
        default=True,
        description="`false`: end after what has happened so far, instead of waiting for more.",
    )


@blueprint.get("/jobs/<job_id>/events")
@operation(
    name="get_events",
    tag="jobs",
    scope=Scope.JOBS_READ,
    query=EventsQuery,
    headers=[LAST_EVENT_ID],
    answers={
        200: Answer(
            description="Events, each with `id`, `event` (`status`, `progress` or `training`) and `data`, a JSON "
            "object of the schema `Event`.",
            model=EventView,
            media={"text/event-stream": {"type": "string"}},
        ),
        204: Answer(description="The job has ended, and its last event was seen."),
    },
)
def events(job_id: str, query: EventsQuery) -> Response:
    """Follow a job by server-sent events.

    First comes what has happened since `Last-Event-ID`, without it since the submission; then what happens, until the
    job has ended. Where the events in between are no longer kept, a `status` as it is now comes first instead. A
    comment comes every 15 seconds; after some minutes the stream ends, and the reader comes again with `Last-Event-ID`.
    """
    at, record, position = services(), find(job_id), _position()
    if record.status.ended and position is not None:
        # Readers come again by themselves when a stream has ended; this tells them not to.
        last = at.ledger.events.newest(record.id) or _place_of_end(record)
        if position == last:
            return Response(status=204)
    follower = Follower(at, caller(), record.id, position)
    gauge = metrics_of(current_app).streams
    gauge.inc()
    response = Response(
        follower.lines(follow=query.follow), content_type="text/event-stream; charset=utf-8"
    )
    response.call_on_close(gauge.dec)
    # nginx would gather the events otherwise.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _position() -> Position:
    given = request.headers.get("Last-Event-ID", "")
    if not given:
        return None
    if not _POSITION.fullmatch(given):
        raise InvalidRequest.of("header:Last-Event-ID", "expected the id of an event", given)
    return given


class Follower:
    """One reader of one job's events.

    Args:
        at: what is read, and who is waited for.
        key: that it is read with; once it is worthless nothing more is told.
        job_id: the job.
        position: of the last event that the reader has seen.
    """

    def __init__(self, at: Services, key: ApiKey, job_id: str, position: Position) -> None:
        self._at = at
        self._key = key
        self._tenant = key.tenant
        self._job_id = job_id
        self._position = position
        self._begun = False

    def lines(self, *, follow: bool) -> Iterator[bytes]:
        """The stream, piece by piece."""
        yield b"retry: %d\n\n" % _RETRY_MS
        until = time.monotonic() + _STREAM_SECONDS
        try:
            with self._at.changes.watch(self._tenant, self._job_id) as watch:
                ended = yield from self._new()
                # Without a watch too many wait already: the reader comes again.
                while follow and watch and not ended and time.monotonic() < until:
                    if self._at.changes.closed:
                        return
                    ended = yield from self._next(watch)
        except (NotFound, Unauthenticated, Forbidden, Unavailable):
            return  # deleted or revoked meanwhile; or the ledger was lost, and the reader comes again

    def _next(self, watch: Watch) -> Generator[bytes, None, bool]:
        """What happens next, or a heartbeat; whether the job has ended."""
        heartbeat = time.monotonic() + HEARTBEAT_SECONDS
        while (left := heartbeat - time.monotonic()) > 0 and not self._at.changes.closed:
            watch.wait(left)
            before = self._position
            try:
                self._at.keys.recheck(self._key)
                ended = yield from self._new()
            except Unavailable:
                continue  # heartbeats go on while Redis is away
            if ended or self._position != before:
                return ended
        self._at.keys.recheck(self._key)
        yield b":\n\n"
        # A job that was entered anew from the store may have ended without an event.
        record = self._at.snapshots.get(self._tenant, self._job_id).record
        return (yield from self._present()) if record.status.ended else False

    def _new(self) -> Generator[bytes, None, bool]:
        """What has happened since the last event that was sent; whether the job has ended with it."""
        last: JobEvent | None = None
        while True:
            place = (self._job_id, self._position)
            told = self._at.event_reads.get(place) or Told(events=(), whole=False)
            if not told.whole and (self._position is not None or not self._begun):
                return (yield from self._present())
            self._begun = True
            for event in told.events:
                yield _lines(event.id, event.event, _from_event(self._job_id, event))
                self._position, last = event.id, event
            if not told.events:
                return last is not None and last.status.ended

    def _present(self) -> Generator[bytes, None, bool]:
        """The job as it is, where what led to it is not kept; whether it has ended."""
        self._begun = True
        # The position first: what happens between the two reads is told again rather than not at all.
        self._position = self._at.ledger.events.newest(self._job_id)
        record = self._at.snapshots.get(self._tenant, self._job_id).record
        place = self._position
        if place is None and record.status.ended:
            place = _place_of_end(record)
        yield _lines(place, "status", _from_record(record))
        return record.status.ended


def _place_of_end(record: JobRecord) -> str:
    """Stands for the end of a job whose events are no longer kept."""
    return f"{record.ended_at or 0}-0"


def _lines(position: Position, event: str, data: EventView) -> bytes:
    name = b"" if position is None else b"id: %s\n" % position.encode()
    return b"%sevent: %s\ndata: %s\n\n" % (name, event.encode(), data.model_dump_json().encode())


def _from_event(job_id: str, event: JobEvent) -> EventView:
    done = event.completed + event.failed
    fraction = round(done / event.total, 6) if event.total else None
    return EventView.model_construct(
        job=job_id,
        at=rfc3339(event.at),
        status=event.status,
        attempts=event.attempts,
        request_counts=_counts(event.total, event.completed, event.failed),
        fraction=fraction,
        error=event.detail if event.event == "status" else None,
        waiting=event.detail if event.event == "progress" else None,
        training=event.detail if event.event == "training" else None,
    )


def _from_record(record: JobRecord) -> EventView:
    return EventView.model_construct(
        job=record.id,
        at=rfc3339(record.ended_at or record.now),
        status=record.status,
        attempts=record.attempts,
        request_counts=_counts(record.total, record.completed, record.failed),
        fraction=record.progress()["fraction"],
        error=record.error,
        waiting=record.waiting,
        training=record.training,
    )


def _counts(total: int | None, completed: int, failed: int) -> RequestCounts:
    return RequestCounts.model_construct(total=total, completed=completed, failed=failed)
