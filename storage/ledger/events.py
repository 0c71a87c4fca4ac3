"""What happened to jobs, for whoever follows them: a stream for each job, and hints that one has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson

from jobs.errors import Unavailable
from jobs.states import Status
from storage.ledger.scripts import LedgerClient, ledger_faults

#: Where every change of a record is published, as ``<id> <version>``. Redis's channels belong to the whole server.
CHANNEL = "ledger:changes"

#: Most events that are read of one job at once.
_PAGE = 200

#: The event that a follower has seen last: a stream's id, or None before the first.
Position = str | None


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """One thing that happened to a job, with its record as it was then."""

    id: str  #: ``<ms>-<number>``, in the order in which things happened
    event: Literal["status", "progress", "training"]
    status: Status
    attempts: int
    completed: int
    failed: int
    total: int | None
    #: Of ``status`` the job's error, of ``progress`` what it waits for, of ``training`` how far it is; or None.
    detail: Any

    @property
    def at(self) -> int:
        """When it happened, in ms by Redis's clock."""
        return int(self.id.partition("-")[0])


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a job's stream holds behind a position."""

    events: Sequence[JobEvent]  #: the first of them
    #: Whether nothing between the position and these is missing: it was neither trimmed nor lost.
    whole: bool


class EventTable:
    """The streams of all jobs. They are written by the scripts that change the records."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client

    def read(self, wanted: Sequence[tuple[str, Position]]) -> Mapping[tuple[str, Position], Told]:
        """What happened to jobs after these positions, in one round trip.

        Raises:
            Unavailable: Redis is away, or the ledger is not whole.
        """
        with ledger_faults():
            pipe = self._client.redis.pipeline(transaction=False)
            pipe.exists("ledger:epoch")
            for job_id, after in wanted:
                # From the position itself on: where it is still there, nothing behind it is missing.
                pipe.xrange(_key(job_id), min=after or "-", count=_PAGE)
            whole, *answers = pipe.execute()
        if not whole:
            raise Unavailable("the ledger is being built")
        return {
            place: _told(place[1], entries) for place, entries in zip(wanted, answers, strict=True)
        }

    def newest(self, job_id: str) -> Position:
        """The last position of a job's stream.

        Raises:
            Unavailable: Redis is away.
        """
        with ledger_faults():
            found = cast("list[Any]", self._client.redis.xrevrange(_key(job_id), count=1))
        return str(found[0][0]) if found else None

    def changes(self) -> Iterator[str | None]:
        """Ids of jobs as they change, for ever: None once the server is listened to, and again every few seconds.

        Only hints: those from before that moment, and those of a connection that broke, never come.

        Raises:
            Unavailable: Redis is away.
        """
        with ledger_faults():
            listener: Any = self._client.redis.pubsub(  # type: ignore[no-untyped-call]
                ignore_subscribe_messages=True
            )
            try:
                listener.subscribe(CHANNEL)
                yield None
                while True:
                    message = listener.get_message(timeout=_LISTEN_SECONDS)
                    yield message["data"].partition(" ")[0] if message else None
            finally:
                listener.close()


#: Seconds after which somebody who listens looks up, though nothing has come.
_LISTEN_SECONDS = 5.0

#: Where the first event of a job says that it is the first: nobody has done anything for it yet.
_FRESH = ("status", Status.VALIDATING, 1)


def _told(after: Position, entries: list[tuple[str, dict[str, str]]]) -> Told:
    events = [_event(name, fields) for name, fields in entries]
    if after is not None:
        held = bool(events) and events[0].id == after
        return Told(events=events[1:] if held else events, whole=held)
    first = events[0] if events else None
    fresh = first is not None and (first.event, first.status, first.attempts) == _FRESH
    return Told(events=events, whole=fresh)


def _event(name: str, fields: Mapping[str, str]) -> JobEvent:
    return JobEvent(
        id=name,
        event=cast("Literal['status', 'progress', 'training']", fields["event"]),
        status=Status(fields["status"]),
        attempts=int(fields["attempts"]),
        completed=int(fields["completed"]),
        failed=int(fields["failed"]),
        total=int(fields["total"]) if fields["total"] else None,
        detail=orjson.loads(fields["detail"]) if fields["detail"] else None,
    )


def _key(job_id: str) -> str:
    return f"job:{job_id}:events"
