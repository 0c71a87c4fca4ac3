"""What happens to a job, as it happens: server-sent events that go on where a connection broke."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from textmill.call import Call, call
from textmill.errors import ConnectionFailed, TransferFailed, Unavailable
from textmill.job import ENDED, Counts, JobError
from textmill.paging import parse_time
from textmill.retry import RetryPolicy
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


class Following:
    """How far one reader of a job's events has come, and when to try again.

    Args:
        wait: whether to go on until the job has ended.
        after: id of the last event that was seen.
    """

    def __init__(
        self, job_id: str, policy: RetryPolicy, *, wait: bool = True, after: str | None = None
    ) -> None:
        self._job_id = job_id
        self._policy = policy
        self._wait = wait
        self._after = after
        self._ended = False
        self._failures = 0
        self._since = time.monotonic()

    def request(self) -> Call:
        """What comes behind the last event."""
        query = {"follow": None if self._wait else False}
        request = call("GET", "jobs", self._job_id, "events", query=query)
        request = request.with_headers(Accept="text/event-stream")
        return request if self._after is None else request.with_headers(Last_Event_ID=self._after)

    def opened(self, status: int) -> None:
        """The server answered: with 204 where nothing is behind that event, nor ever will be."""
        self._ended = not self._wait or status == 204

    def saw(self, event: Event) -> None:
        """An event came."""
        self._failures, self._after = 0, event.id or self._after
        self._ended = event.ended or not self._wait

    def closed(self) -> float | None:
        """Seconds until the stream is asked for again, which ends with its job and now and then before; None: never."""
        return None if self._ended else AGAIN_GAP

    def broke(self) -> float | None:
        """Seconds until the next try after the connection failed; None: it has been away for too long."""
        self._failures += 1
        now = time.monotonic()
        self._since = now if self._failures == 1 else self._since
        if now - self._since >= self._policy.outage_seconds:
            return None
        return self._policy.pause(self._failures) or OUTAGE_GAP


def follow(
    transport: Transport, job_id: str, *, wait: bool = True, after: str | None = None
) -> Iterator[Event]:
    """See :meth:`textmill.Job.events`."""
    reader = Following(job_id, transport.policy, wait=wait, after=after)
    while True:
        try:
            with transport.stream(reader.request()) as response:
                reader.opened(response.status_code)
                gathered = Lines()
                for line in response.iter_lines():
                    event = gathered.take(line)
                    if event is not None:
                        reader.saw(event)
                        yield event
            pause = reader.closed()
            if pause is None:
                return
        except (httpx.TransportError, ConnectionFailed, Unavailable) as error:
            pause = reader.broke()
            if pause is None:
                if isinstance(error, httpx.RequestError):
                    raise transport.failure(error) from error
                raise
        time.sleep(pause)


class Lines:
    """Gathers lines to events; see https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def take(self, line: str) -> Event | None:
        """The event that a line completes, if it does.

        Raises:
            TransferFailed: it is not what was expected.
        """
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            known = self._fields.get("data") if name == "data" else None
            self._fields[name] = value if known is None else f"{known}\n{value}"
            return None
        fields, self._fields = self._fields, {}
        return _event(fields) if "data" in fields else None


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
