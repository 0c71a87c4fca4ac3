"""What happens to a job, as it happens: server-sent events that go on where a connection broke."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from textmill.call import Call, call
from textmill.errors import ConnectionFailed, TransferFailed, Unavailable
from textmill.job import ENDED, Counts, JobError
from textmill.paging import parse_time
from textmill.training import Training, to_training
from textmill.transport import Transport

#: Seconds between two tries while the server is away, and before a stream is asked for again that ended early.
OUTAGE_GAP, AGAIN_GAP = 2.0, 0.2


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened to a job, and the job as it was then."""

    id: str | None  #: to go on behind it; None where the server no longer keeps what led to it
    event: str  #: ``status``, ``progress`` or ``training``
    status: str
    at: datetime | None = None
    attempts: int = 1
    counts: Counts = field(default_factory=Counts)
    fraction: float | None = None  #: share that is done, 0 to 1; None while unknown
    error: JobError | None = None  #: of ``status``: why the job failed
    waiting: str | None = None  #: of ``progress``: what keeps the job from going on
    training: Training | None = None  #: of ``training``: how far it is
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """Whether the job ended with it."""
        return self.event == "status" and self.status in ENDED


def follow(
    transport: Transport, job_id: str, *, wait: bool = True, after: str | None = None
) -> Iterator[Event]:
    """See :meth:`textmill.Job.events`."""
    failures = 0
    since = time.monotonic()
    while True:
        ended = not wait
        try:
            with transport.stream(_request(job_id, wait=wait, after=after)) as response:
                # Nothing is behind that event, nor ever will be.
                ended = ended or response.status_code == 204
                for event in _events(response.iter_lines()):
                    failures, after = 0, event.id or after
                    ended = event.ended or not wait
                    yield event
        except (httpx.TransportError, ConnectionFailed, Unavailable) as error:
            failures += 1
            since = time.monotonic() if failures == 1 else since
            if time.monotonic() - since >= transport.policy.outage_seconds:
                if isinstance(error, httpx.RequestError):
                    raise transport.failure(error) from error
                raise
            time.sleep(transport.policy.pause(failures) or OUTAGE_GAP)
            continue
        # The server ends a stream with its job, and now and then before that.
        if ended:
            return
        time.sleep(AGAIN_GAP)


def _request(job_id: str, *, wait: bool, after: str | None) -> Call:
    request = call("GET", "jobs", job_id, "events", query={"follow": None if wait else False})
    request = request.with_headers(Accept="text/event-stream")
    return request if after is None else request.with_headers(Last_Event_ID=after)


def _events(lines: Iterable[str]) -> Iterator[Event]:
    """Events from lines; see https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line and name == "data" and "data" in fields:
            fields["data"] += "\n" + value
        elif line:
            fields[name] = value
        elif "data" in fields:
            yield _event(fields)
            fields = {}
        else:
            fields = {}


def _event(fields: Mapping[str, str]) -> Event:
    try:
        raw: dict[str, Any] = json.loads(fields["data"])
        counts, error = raw.get("request_counts") or {}, raw.get("error")
        return Event(
            id=fields.get("id"),
            event=fields.get("event", "message"),
            status=raw["status"],
            at=parse_time(raw.get("at")),
            attempts=raw.get("attempts") or 1,
            counts=Counts(
                total=counts.get("total"),
                completed=counts.get("completed") or 0,
                failed=counts.get("failed") or 0,
            ),
            fraction=raw.get("fraction"),
            error=error
            and JobError(
                code=error.get("code") or "failed",
                message=error.get("message") or "",
                field=error.get("field"),
            ),
            waiting=raw.get("waiting"),
            training=to_training(raw.get("training")),
            raw=raw,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TransferFailed(f"an event is not what was expected: {error!r}") from None
