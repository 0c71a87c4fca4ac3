"""Events come once and in order, whatever breaks; the command prints them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.client.either import Either
from tests.unit.client.scripted import JOB_ID, Answer, Request, ScriptedServer, problem
from tests.unit.client.shell import Shell
from textmill import ConnectionFailed, Event, NotFound

EVENTS = f"/v1/jobs/{JOB_ID}/events"
STATUSES = ["validating", "in_progress", "in_progress", "finalizing", "completed"]


def data(number: int, **more: Any) -> dict[str, Any]:
    return {
        "job": JOB_ID,
        "at": f"2026-11-02T12:00:0{number}.000Z",
        "status": STATUSES[number],
        "attempts": 1,
        "request_counts": {"total": 20, "completed": number, "failed": 0},
        "fraction": number / 20,
        **more,
    }


def lines(number: int, **more: Any) -> bytes:
    event = "progress" if number == 2 else "status"
    body = json.dumps(data(number, **more))
    return f"id: {number}-0\nevent: {event}\ndata: {body}\n\n".encode()


STREAM: dict[str, str] = {"Content-Type": "text/event-stream"}


def serve(*, cuts: dict[int, int] | None = None) -> Callable[[Request], Answer]:
    """Sends what is behind ``Last-Event-ID``; connection number n breaks after ``cuts[n]`` bytes."""
    calls: list[Request] = []

    def handler(request: Request) -> Answer:
        calls.append(request)
        after = int(request.headers.get("last-event-id", "-1-0").rpartition("-")[0])
        if after == len(STATUSES) - 1:
            return Answer(status=204)
        body = b"retry: 2000\n\n:\n\n" + b"".join(lines(n) for n in range(after + 1, len(STATUSES)))
        cut = (cuts or {}).get(len(calls))
        return Answer(body=body, headers=STREAM, chunked=True, cut_after=cut)

    return handler


def ids(events: list[Event]) -> list[str | None]:
    return [one.id for one in events]


ALL = [f"{number}-0" for number in range(len(STATUSES))]


def test_events_are_read_until_the_job_ends(server: ScriptedServer, either: Either) -> None:
    server.on("GET", EVENTS, serve())
    events = either(lambda tm: tm.jobs.events(JOB_ID))
    assert ids(events) == ALL
    assert [one.status for one in events] == STATUSES
    assert (events[3].counts.total, events[3].counts.completed, events[3].fraction) == (20, 3, 0.15)
    assert events[-1].ended
    assert len(server.asked("GET", EVENTS)) == 1


@pytest.mark.parametrize("cut", [0, 20, 300, 700])
def test_a_broken_stream_goes_on_behind_the_last_event(
    server: ScriptedServer, either: Either, cut: int
) -> None:
    server.on("GET", EVENTS, serve(cuts={1: cut, 2: cut}))
    assert ids(either(lambda tm: tm.jobs.events(JOB_ID))) == ALL
    assert len(server.asked("GET", EVENTS)) == 3


def test_a_stream_that_ends_before_its_job_is_asked_for_again(
    server: ScriptedServer, either: Either
) -> None:
    def handler(request: Request) -> Answer:
        after = int(request.headers.get("last-event-id", "-1-0").rpartition("-")[0])
        return Answer(body=lines(after + 1), headers=STREAM, chunked=True)

    server.on("GET", EVENTS, handler)
    assert ids(either(lambda tm: tm.jobs.events(JOB_ID))) == ALL


def test_nothing_comes_behind_the_end(server: ScriptedServer, either: Either) -> None:
    server.on("GET", EVENTS, serve())
    assert either(lambda tm: tm.jobs.events(JOB_ID, after=ALL[-1])) == []
    assert ids(either(lambda tm: tm.jobs.events(JOB_ID, after=ALL[1]))) == ALL[2:]


def test_a_job_that_is_not_there(server: ScriptedServer, either: Either) -> None:
    server.on("GET", EVENTS, problem(404, "not_found", "no such job"))
    with pytest.raises(NotFound):
        either(lambda tm: tm.jobs.events(JOB_ID))


def test_a_server_that_stays_away(server: ScriptedServer, either: Either) -> None:
    server.on("GET", EVENTS, Answer(body=b"x", cut_after=0))
    with pytest.raises(ConnectionFailed):
        either(lambda tm: tm.jobs.events(JOB_ID), outage_seconds=0.2)
    assert len(server.asked("GET", EVENTS)) > 4


def test_the_command_shows_what_happened(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", EVENTS, serve())
    shown = textmill("events", JOB_ID)
    assert shown.exit_code == 0
    assert server.asked("GET", EVENTS)[0].query == {"follow": "false"}
    assert [line.split()[1] for line in shown.stdout.splitlines()] == STATUSES
    assert "3 of 20" in shown.stdout


def test_the_command_prints_an_object_a_line(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", EVENTS, serve())
    printed = textmill("events", JOB_ID, "--follow", "--after", "1-0", "--json")
    found = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [one["id"] for one in found] == ALL[2:]
    assert found[-1]["request_counts"]["total"] == 20
