"""Servers, proxies and networks that misbehave: whatever they do, either client says what happened, soon, in little
memory, and gives nobody else the key."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from typing import Any

import pytest

from tests.unit.client.either import Either
from tests.unit.client.scripted import (
    JOB,
    JOB_ID,
    Answer,
    Request,
    ScriptedServer,
    job,
    problem,
    ranged,
    reply,
)
from textmill import (
    ApiError,
    ConnectionFailed,
    JobFailed,
    RateLimited,
    TransferFailed,
    Unavailable,
    WaitTimeout,
)

WHOLE = json.dumps(job()).encode()
JSON = {"Content-Type": "application/json"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

#: Answers that a network or a proxy may make of a good one; the next try gets the good one.
BROKEN = {
    "closed before a byte": Answer(raw=b""),
    "closed in the status line": Answer(raw=b"HTTP/1.1 20"),
    "closed in the headers": Answer(raw=HEAD + b"Content-Le"),
    "closed before the body": Answer(raw=HEAD + b"Content-Length: 100\r\n\r\n"),
    "closed in the body": Answer(body=WHOLE, headers=JSON, cut_after=20),
    "closed in a chunk": Answer(body=WHOLE, headers=JSON, cut_after=20, chunked=True),
    "cut, with the end of the connection as its end": Answer(raw=HEAD + b"\r\n" + WHOLE[:50]),
    "cut, with a length that fits": Answer(body=WHOLE[:50], headers=JSON),
    "not HTTP": Answer(raw=b"SSH-2.0-OpenSSH_9.9\r\n"),
    "broken gzip": Answer(body=b"\x1f\x8bnonsense", headers=JSON | {"Content-Encoding": "gzip"}),
    "packed in a way not asked for": Answer(
        body=WHOLE, headers=JSON | {"Content-Encoding": "zstd"}
    ),
    "a proxy's page": Answer(
        status=502, body=b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"}
    ),
    "an error that breaks off": Answer(status=503, body=b"{" * 100, headers=JSON, cut_after=10),
    "a gateway's timeout": Answer(status=504),
    "slow down": problem(429, "rate_limited", "slow down", headers={"Retry-After": "0"}),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_asked_for_again(
    server: ScriptedServer, either: Either, broken: Answer
) -> None:
    server.on("GET", JOB, broken, broken, reply(job()))
    assert either(lambda tm: tm.jobs.get(JOB_ID)).id == JOB_ID
    assert len(server.requests) == 3


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_stays_broken_is_an_error_of_this_client(
    server: ScriptedServer, either: Either, broken: Answer
) -> None:
    server.on("GET", JOB, broken)
    with pytest.raises((ConnectionFailed, ApiError)) as caught:
        either(lambda tm: tm.jobs.get(JOB_ID))
    assert server.url in str(caught.value) or isinstance(caught.value, (Unavailable, RateLimited))
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(body=b"<html>", headers={"Content-Type": "text/html"}), "found text/html"),
        (Answer(body=b"hello"), "found something else"),
        (reply([1, 2]), "not what was expected"),
        (reply({"id": 5}), "not what was expected"),
        (reply(job(created_at="yesterday")), "not what was expected"),
        (reply(job(request_counts=[1])), "not what was expected"),
        (Answer(body=b"[" * 200_000, headers={"Content-Type": "text/plain"}), "found text/plain"),
        (Answer(), "not what was expected"),
    ],
)
def test_what_is_no_textmill_server_is_said_to_be_none(
    server: ScriptedServer, either: Either, answer: Answer, message: str
) -> None:
    server.on("GET", JOB, answer)
    with pytest.raises(ApiError, match=message) as caught:
        either(lambda tm: tm.jobs.get(JOB_ID))
    assert caught.value.code == "unexpected_reply"
    assert len(server.requests) == 1


def test_the_key_goes_nowhere_else(server: ScriptedServer, either: Either) -> None:
    other = ScriptedServer()
    try:
        for status in (301, 302, 303, 307, 308):
            server.on("GET", JOB, Answer(status=status, headers={"Location": other.url + JOB}))
            server.on("GET", f"{JOB}/results", *server._routes["GET", JOB])
            with pytest.raises(ApiError, match=f"redirects to {other.url}"):
                either(lambda tm: tm.jobs.get(JOB_ID))
            with pytest.raises(ApiError, match="redirects"):
                either(lambda tm: tm.jobs.rows(JOB_ID, "results"))
        assert other.requests == []
    finally:
        other.close()


@pytest.mark.parametrize("packed", [False, True])
def test_a_huge_error_is_read_in_little_memory(
    server: ScriptedServer, either: Either, packed: bool
) -> None:
    page = b"<html>" + b"x" * (60 << 20)
    headers = {"Content-Type": "text/html"} | ({"Content-Encoding": "gzip"} if packed else {})
    answer = Answer(status=500, body=gzip.compress(page) if packed else page, headers=headers)
    server.on("GET", JOB, answer)
    tracemalloc.start()
    try:
        with pytest.raises(ApiError, match="500 Internal Server Error"):
            either(lambda tm: tm.jobs.get(JOB_ID))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_packed_answer_is_unpacked(server: ScriptedServer, either: Either) -> None:
    packed = Answer(body=gzip.compress(WHOLE), headers=JSON | {"Content-Encoding": "gzip"})
    server.on("GET", JOB, packed)
    assert either(lambda tm: tm.jobs.get(JOB_ID)).raw == job()


def test_an_answer_without_end_is_given_up(
    server: ScriptedServer, either: Either, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textmill.exchange.MAX_REPLY_BYTES", 10_000)
    server.on("GET", JOB, Answer(body=b"[" * 20_000, headers=JSON))
    with pytest.raises(ApiError, match="longer than 10,000 bytes"):
        either(lambda tm: tm.jobs.get(JOB_ID))


def test_an_answer_that_trickles_is_given_up(server: ScriptedServer, either: Either) -> None:
    server.on("GET", JOB, Answer(body=WHOLE, headers=JSON, pace=0.05))
    began = time.monotonic()
    with pytest.raises(ApiError, match="took too long"):
        either(lambda tm: tm.jobs.get(JOB_ID), total_seconds=0.3)
    assert time.monotonic() - began < 5


def test_a_silent_server_is_given_up(server: ScriptedServer, either: Either) -> None:
    server.on("GET", JOB, Answer(body=WHOLE, headers=JSON, after=1.5))
    with pytest.raises(ConnectionFailed, match="no answer in time"):
        either(lambda tm: tm.jobs.get(JOB_ID), timeout=0.2, attempts=2)


@pytest.mark.parametrize(
    ("value", "tries"), [("Wed, 01 Jan 2020 00:00:00 GMT", 4), ("99999999999999", 1), ("-5", 4)]
)
def test_absurd_pauses(server: ScriptedServer, either: Either, value: str, tries: int) -> None:
    server.on("GET", JOB, problem(429, "rate_limited", "no", headers={"Retry-After": value}))
    with pytest.raises(RateLimited):
        either(lambda tm: tm.jobs.get(JOB_ID))
    assert len(server.requests) == tries


# --- waiting ---------------------------------------------------------------------------------------


def wait(**options: Any) -> Any:
    """Reads the job and waits for its end, with either client."""

    def ask(tm: Any) -> Any:
        found = tm.jobs.get(JOB_ID)
        if not hasattr(found, "__await__"):
            return found.wait(**options)

        async def ended() -> Any:
            return await (await found).wait(**options)

        return ended()

    return ask


def test_a_wait_goes_through_restarts_and_trouble(
    server: ScriptedServer, either: Either, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textmill.waiting.OUTAGE_GAP", 0.01)
    troubles = [one for one in BROKEN.values() for _ in range(2)]
    server.on("GET", JOB, reply(job(), ETag='"1"'), *troubles, reply(job("completed")))
    seen: list[str] = []
    ended = either(wait(progress=lambda one: seen.append(one.status)), attempts=1)
    assert (ended.status, seen) == ("completed", ["in_progress", "completed"])
    assert len(server.requests) == 2 + len(troubles)


def test_a_wait_bears_no_refusal(server: ScriptedServer, either: Either) -> None:
    server.on("GET", JOB, reply(job()), problem(404, "not_found", "no such job"))
    with pytest.raises(ApiError, match="no such job"):
        either(wait())
    server.on("GET", JOB, reply(job()), reply(job("failed")))
    with pytest.raises(JobFailed):
        either(wait())


def test_a_wait_ends_in_time_though_the_server_hangs(
    server: ScriptedServer, either: Either
) -> None:
    server.on("GET", JOB, reply(job(), ETag='"1"'), Answer(body=WHOLE, headers=JSON, after=4))
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match="goes on"):
        either(wait(timeout=0.5), timeout=60)
    assert time.monotonic() - began < 3.5


def test_states_and_kinds_of_a_newer_server_are_waited_through(
    server: ScriptedServer, either: Either
) -> None:
    newer = job("paused", kind="transcribe", progress={"fraction": None, "stage": {}}, extra=[1])
    server.on("GET", JOB, reply(newer), reply(job("resting")), reply(job("completed")))
    assert either(wait()).status == "completed"
    server.on("GET", "/v1/jobs", reply({"data": [newer], "has_more": False, "cursor": 1}))
    (listed,) = either(lambda tm: tm.jobs.list())
    assert (listed.kind, listed.raw) == ("transcribe", newer)


# --- results ---------------------------------------------------------------------------------------

ROWS = [{"index": number, "output": {"label": "ä" * 20}} for number in range(2000)]
BODY = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)


@pytest.mark.parametrize("etag", ['"v1"', None])
@pytest.mark.parametrize("chunked", [False, True])
def test_rows_come_once_each_though_the_download_breaks(
    server: ScriptedServer, either: Either, chunked: bool, etag: str | None
) -> None:
    breaks = (0, 1, 777, 20_000, len(BODY) // 2)
    server.on("GET", f"{JOB}/results", ranged(BODY, etag=etag, breaks=breaks, chunked=chunked))
    assert either(lambda tm: tm.jobs.rows(JOB_ID, "results"), attempts=10) == ROWS
    assert len(server.requests) == len(breaks) + 1


def test_content_that_changed_meanwhile_is_an_error(server: ScriptedServer, either: Either) -> None:
    server.on("GET", f"{JOB}/results", ranged(BODY, breaks=(999,)), ranged(BODY, etag='"v2"'))
    with pytest.raises(TransferFailed, match="changed"):
        either(lambda tm: tm.jobs.rows(JOB_ID, "results"))


def test_rows_that_are_no_json_are_an_error_with_their_line(
    server: ScriptedServer, either: Either
) -> None:
    server.on("GET", f"{JOB}/results", Answer(body=b'{"index": 0}\n{"ind'))
    with pytest.raises(TransferFailed, match="line 2"):
        either(lambda tm: tm.jobs.rows(JOB_ID, "results"))


def test_a_server_that_is_away_for_a_moment_does_not_end_a_download(
    server: ScriptedServer, either: Either
) -> None:
    serve = ranged(BODY, breaks=(5000,))
    away = problem(503, "unavailable", "restarting")
    server.on("GET", f"{JOB}/results", serve, away, Answer(raw=b""), serve)
    assert either(lambda tm: tm.jobs.rows(JOB_ID, "results")) == ROWS


def test_a_submission_is_made_once_whatever_happens(server: ScriptedServer, either: Either) -> None:
    made: dict[str, str] = {}

    def submit(request: Request) -> Answer:
        made.setdefault(request.headers["idempotency-key"], "job")
        return reply(job(), 201)

    def lost(request: Request) -> Answer:
        submit(request)
        return Answer(raw=HEAD)

    server.on("POST", "/v1/jobs", lost, BROKEN["a proxy's page"], lost, submit)
    assert either(lambda tm: tm.jobs.create(kind="classify", input=["a"])).id == JOB_ID
    assert len(made) == 1
    assert len(server.requests) == 4
