"""What a schedule may be, and what it decides."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from jobs.errors import InvalidRequest
from jobs.params import validate
from jobs.schedules import ScheduleChange, ScheduleSpec, decide, jitter_ms
from jobs.timing import parse_moment

JOB = {"kind": "echo", "input": {"items": [{"text": "a"}]}}
NOON = parse_moment("2026-05-01T12:00:00Z")
HOUR = 3_600_000


def spec(**fields: Any) -> ScheduleSpec:
    return validate(ScheduleSpec, orjson.dumps({"job": JOB, **fields}))


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("body", {}),
        ("body", {"cron": "0 0 * * *", "every": 60}),
        ("cron", {"cron": "nonsense"}),
        ("cron", {"cron": 5}),
        ("every", {"every": 59}),
        ("every", {"every": "60"}),
        ("every", {"every": 1e300}),
        ("every", {"every": True}),
        ("timezone", {"every": 60, "timezone": "Mars/Olympus"}),
        ("timezone", {"every": 60, "timezone": "../../etc/passwd"}),
        ("timezone", {"every": 60, "timezone": "/etc/localtime"}),
        ("timezone", {"every": 60, "timezone": "Europe/Berlin\x00"}),
        ("timezone", {"every": 60, "timezone": ""}),
        ("timezone", {"every": 60, "timezone": None}),
        ("starts_at", {"every": 60, "starts_at": "2026-05-01T00:00:00"}),
        ("starts_at", {"every": 60, "starts_at": "2026-13-01T00:00:00Z"}),
        ("starts_at", {"every": 60, "starts_at": "9999-12-31T23:59:59Z"}),
        ("starts_at", {"every": 60, "starts_at": 5}),
        ("ends_at", {"every": 60, "ends_at": "tomorrow"}),
        (
            "body",
            {
                "every": 60,
                "starts_at": "2026-05-01T02:00:00+02:00",
                "ends_at": "2026-05-01T00:00:00Z",
            },
        ),
        ("jitter_seconds", {"every": 60, "jitter_seconds": -1}),
        ("jitter_seconds", {"every": 60, "jitter_seconds": 3601}),
        ("missed", {"every": 60, "missed": "sometimes"}),
        ("missed_window_seconds", {"every": 60, "missed_window_seconds": 10**12}),
        ("overlap", {"every": 60, "overlap": None}),
        ("retries", {"every": 60, "retries": 11}),
        ("pause_after_failures", {"every": 60, "pause_after_failures": 0}),
        ("complete_within_seconds", {"every": 60, "complete_within_seconds": 1}),
        ("keep.runs", {"every": 60, "keep": {"runs": 0}}),
        ("keep.days", {"every": 60, "keep": {"days": "7"}}),
        ("keep.weeks", {"every": 60, "keep": {"weeks": 1}}),
        ("name", {"every": 60, "name": "x" * 201}),
        ("surprise", {"every": 60, "surprise": 1}),
        ("job", {"every": 60, "job": None}),
        ("job.kind", {"every": 60, "job": {"input": JOB["input"]}}),
        ("job.surprise", {"every": 60, "job": {**JOB, "surprise": 1}}),
        ("job.input", {"every": 60, "job": {"kind": "echo", "input": {}}}),
    ],
)
def test_what_a_schedule_may_not_be_is_named(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        spec(**fields)
    assert refused.value.fields[0].field == field


def test_a_change_replaces_what_it_names() -> None:
    before = spec(cron="0 0 * * *", name="a", retries=3)
    change = validate(ScheduleChange, b'{"cron": null, "every": 60}')
    after = validate(ScheduleSpec, orjson.dumps(before.patched(change.changes())))
    assert (after.cron, after.every, after.name, after.retries) == (None, 60, "a", 3)
    assert before.patched(validate(ScheduleChange, b"{}").changes()) == before.model_dump(
        mode="json"
    )


def test_a_secret_is_kept_and_not_shown() -> None:
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
    webhook = {"url": "https://hooks.example.org/x", "secret": secret}
    one = spec(every=60, job={**JOB, "webhook": webhook})
    assert secret in str(one.model_dump(mode="json"))
    assert secret not in str(one.public())
    assert secret not in repr(one)


def test_jitter_is_the_same_whoever_asks_and_within_its_bounds() -> None:
    found = [jitter_ms("schedule_a", NOON + n, 30) for n in range(500)]
    assert found == [jitter_ms("schedule_a", NOON + n, 30) for n in range(500)]
    assert 0 <= min(found) < 2_000
    assert 28_000 < max(found) <= 30_000
    assert jitter_ms("schedule_b", NOON, 30) != jitter_ms("schedule_a", NOON, 30)
    assert jitter_ms("schedule_a", NOON, 0) == 0


def test_a_firing_is_due_with_its_jitter() -> None:
    one = spec(every=3600, jitter_seconds=600)
    put_off = jitter_ms("s", NOON + HOUR, 600)
    assert put_off > 0
    early = decide("s", one, NOON, after=NOON, now=NOON + HOUR + put_off - 1)
    (firing,) = decide("s", one, NOON, after=NOON, now=NOON + HOUR + put_off)
    assert early == []
    assert (firing.fire_at, firing.due_at, firing.verdict) == (
        NOON + HOUR,
        NOON + HOUR + put_off,
        "on_time",
    )


def test_a_clock_that_goes_back_decides_nothing_again() -> None:
    assert decide("s", spec(every=60), NOON, after=NOON + HOUR, now=NOON) == []


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ("run_once", ["missed", "missed", "late"]),
        ("run_all", ["missed", "late", "late"]),
        ("skip", ["missed", "missed", "missed"]),
    ],
)
def test_what_was_missed_goes_by_policy_and_window(missed: str, expected: list[str]) -> None:
    one = spec(every=3600, missed=missed, missed_window_seconds=9000)
    found = decide("s", one, NOON, after=NOON, now=NOON + 3 * HOUR + HOUR * 2 // 3)
    assert [firing.verdict for firing in found] == expected


def test_what_is_on_time_stands_in_for_what_was_missed_before() -> None:
    one = spec(every=3600, missed="run_once")
    found = decide("s", one, NOON, after=NOON, now=NOON + 3 * HOUR + 1000)
    assert [firing.verdict for firing in found] == ["missed", "missed", "on_time"]


def test_only_so_much_is_decided_at_once_and_the_newest_is_known() -> None:
    one = spec(every=60, missed="run_once", missed_window_seconds=86_400)
    found = decide("s", one, NOON, after=NOON, now=NOON + 5 * HOUR)
    assert [firing.verdict for firing in found] == ["missed"] * 200


@pytest.mark.parametrize("keep", [{}, {"runs": None}, {"runs": None, "days": None}, None])
def test_what_names_no_limit_keeps_everything(keep: dict[str, Any] | None) -> None:
    body = {"every": 60, "job": JOB, "keep": keep}
    assert ScheduleSpec.model_validate(body).keep is None
    change = ScheduleChange.model_validate({"keep": keep})
    assert change.changes() == {"keep": None}
