"""Which calls are tried again, when, and with what."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.client.scripted import JOB_ID, KEY, Answer, ScriptedServer, job, problem, reply
from textmill import ConnectionFailed, RateLimited, RetryPolicy, Textmill, Unavailable
from textmill.retry import parse_retry_after, status_allows_retry

DOWN = problem(503, "unavailable", "Redis cannot be reached")
CUT = Answer(body=b"{}", cut_after=0)


def test_a_get_is_tried_again_until_the_server_is_back(
    server: ScriptedServer, tm: Textmill
) -> None:
    server.on("GET", f"/v1/jobs/{JOB_ID}", DOWN, CUT, Answer(status=502), reply(job()))
    assert tm.jobs.get(JOB_ID).id == JOB_ID
    assert len(server.requests) == 4


def test_the_last_error_is_raised_when_tries_are_used_up(
    server: ScriptedServer, tm: Textmill
) -> None:
    server.on("GET", f"/v1/jobs/{JOB_ID}", DOWN)
    with pytest.raises(Unavailable, match="Redis cannot be reached") as caught:
        tm.jobs.get(JOB_ID)
    assert caught.value.code == "unavailable"
    assert len(server.requests) == 4


def test_a_submission_keeps_its_idempotency_key_over_all_tries(
    server: ScriptedServer, tm: Textmill
) -> None:
    server.on("POST", "/v1/jobs", DOWN, CUT, Answer(status=504), reply(job(), 201))
    tm.jobs.create(kind="classify", model="m", input=["a text"])
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len(keys) == 4
    assert len(set(keys)) == 1
    assert len({request.body for request in server.requests}) == 1


def test_each_submission_gets_its_own_key_and_a_given_one_is_used(
    server: ScriptedServer, tm: Textmill
) -> None:
    server.on("POST", "/v1/jobs", reply(job(), 201))
    for key in (None, None, "mine"):
        tm.jobs.create(kind="classify", input=["a text"], idempotency_key=key)
    first, second, third = (request.headers["idempotency-key"] for request in server.requests)
    assert first != second
    assert third == "mine"


def test_a_call_that_may_have_happened_is_not_repeated_unless_harmless(
    server: ScriptedServer, tm: Textmill
) -> None:
    for answer in (CUT, Answer(status=504)):
        server.requests.clear()
        server.on("POST", f"/v1/jobs/{JOB_ID}/retry", answer)
        with pytest.raises((ConnectionFailed, Unavailable)):
            tm.jobs.retry(JOB_ID)
        assert len(server.requests) == 1
    server.on("POST", f"/v1/jobs/{JOB_ID}/retry", DOWN, reply(job()))
    assert tm.jobs.retry(JOB_ID).id == JOB_ID


def test_whatever_changes_something_is_repeated_with_one_key(
    server: ScriptedServer, tm: Textmill
) -> None:
    alias = {"name": "m", "alias": "prod", "version": "1"}
    server.on("POST", "/v1/models", CUT, reply(job(kind="import_model"), 201))
    server.on("PUT", "/v1/models/m/aliases/prod", CUT, reply(alias))
    server.on("POST", "/v1/models/m/aliases/prod/rollback", CUT, reply(alias))
    assert tm.models.import_model("hf:org/name", name="m").kind == "import_model"
    tm.models.alias("m", "prod", "1")
    tm.models.roll_back("m")
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == 3


def test_a_new_key_is_never_asked_for_twice(server: ScriptedServer, tm: Textmill) -> None:
    server.on("POST", "/v1/keys", CUT)
    with pytest.raises(ConnectionFailed):
        tm.keys.create(name="ci")
    assert len(server.requests) == 1


def test_tries_end_after_a_total_time(server: ScriptedServer) -> None:
    server.on("GET", f"/v1/jobs/{JOB_ID}", DOWN)
    policy = RetryPolicy(attempts=1000, base_seconds=0.02, max_seconds=0.02, total_seconds=0.2)
    with Textmill(server.url, KEY, retry=policy) as tm, pytest.raises(Unavailable):
        tm.jobs.get(JOB_ID)
    assert 2 <= len(server.requests) < 300


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500])
def test_other_errors_are_not_tried_again(
    server: ScriptedServer, tm: Textmill, status: int
) -> None:
    server.on("GET", f"/v1/jobs/{JOB_ID}", Answer(status=status))
    with pytest.raises(Exception, match=str(status)):
        tm.jobs.get(JOB_ID)
    assert len(server.requests) == 1


def test_retry_after_is_waited_for(server: ScriptedServer, tm: Textmill) -> None:
    limited = problem(429, "rate_limited", "slow down", headers={"Retry-After": "1"})
    server.on("GET", f"/v1/jobs/{JOB_ID}", limited, reply(job()))
    began = time.monotonic()
    tm.jobs.get(JOB_ID)
    assert time.monotonic() - began >= 1.0


def test_a_pause_that_is_too_long_is_left_to_the_caller(
    server: ScriptedServer, tm: Textmill
) -> None:
    limited = problem(429, "rate_limited", "slow down", headers={"Retry-After": "3600"})
    server.on("GET", f"/v1/jobs/{JOB_ID}", limited)
    with pytest.raises(RateLimited) as caught:
        tm.jobs.get(JOB_ID)
    assert caught.value.retry_after == 3600
    assert len(server.requests) == 1


def test_nobody_at_the_address_is_a_clear_error() -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            Textmill(url, "key", retry=RetryPolicy(attempts=2, base_seconds=0.01)) as tm,
            pytest.raises(ConnectionFailed, match=url) as caught,
        ):
            tm.jobs.get(JOB_ID)
    assert "textmill doctor" in str(caught.value)


@settings(deadline=None)
@given(
    attempt=st.integers(1, 40),
    share=st.floats(0, 1),
    retry_after=st.none() | st.floats(0, 1000),
)
def test_a_pause_lies_between_its_bounds(
    attempt: int, share: float, retry_after: float | None
) -> None:
    policy = RetryPolicy(attempts=30, base_seconds=0.5, max_seconds=8, max_retry_after=60)
    pause = policy.pause(attempt, retry_after, draw=lambda low, high: low + share * (high - low))
    if attempt >= 30 or (retry_after or 0) > 60:
        assert pause is None
    else:
        assert pause is not None
        least = retry_after or 0.0
        assert least <= pause <= least + min(8, 0.5 * 2 ** (attempt - 1)) + 1e-9


def test_jitter_is_drawn_from_the_whole_span() -> None:
    spans: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        spans.append((low, high))
        return high

    policy = RetryPolicy(attempts=9, base_seconds=0.5, max_seconds=3)
    assert [policy.pause(n, draw=draw) for n in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert {low for low, _ in spans} == {0.0}


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    now = datetime(2026, 11, 2, 12, tzinfo=UTC)
    later = (now + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert parse_retry_after("2") == 2.0
    assert parse_retry_after(later, now) == 90.0
    assert parse_retry_after("Mon, 02 Nov 2026 11:00:00 GMT", now) == 0.0
    for nonsense in (None, "soon", "nan", "inf", "", "1e999", "Mon, 99 Foo 2026 11:00:00 GMT"):
        assert parse_retry_after(nonsense) is None


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ \S*"))
def test_no_retry_after_is_too_absurd(value: str) -> None:
    seconds = parse_retry_after(value, date=value)
    assert seconds is None or seconds >= 0


def test_clocks_that_differ_do_not_matter() -> None:
    yesterday = "Mon, 02 Nov 2020 12:00:00 GMT", "Mon, 02 Nov 2020 12:00:30 GMT"
    assert parse_retry_after(yesterday[1], date=yesterday[0]) == 30.0


def test_a_gateways_error_says_nothing_about_what_happened() -> None:
    for status in (429, 503):
        assert status_allows_retry(status, idempotent=False)
    for status in (502, 504):
        assert status_allows_retry(status, idempotent=True)
        assert not status_allows_retry(status, idempotent=False)
    assert not status_allows_retry(500, idempotent=True)
