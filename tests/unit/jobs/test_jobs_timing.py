"""When schedules fire: the nights on which clocks change against a table made by hand, leap days, intervals."""

from __future__ import annotations

from itertools import islice, takewhile

import pytest

from jobs.timing import Timing, check_cron, parse_moment

#: Zone, cron, from (exclusive), to (exclusive), and the firings between, all in UTC.
NIGHTS = [
    # Berlin, spring: 02:00 +01 is followed by 03:00 +02, at 01:00 UTC.
    ("Europe/Berlin", "30 2 * * *", "2026-03-28T23:30", "2026-03-29T02:00", ["29T01:00"]),
    ("Europe/Berlin", "0,15,30 2 * * *", "2026-03-28T23:30", "2026-03-29T02:00", ["29T01:00"]),
    ("Europe/Berlin", "30 1 * * *", "2026-03-28T23:30", "2026-03-29T02:00", ["29T00:30"]),
    ("Europe/Berlin", "30 3 * * *", "2026-03-28T23:30", "2026-03-29T02:00", ["29T01:30"]),
    (
        "Europe/Berlin",
        "0 1-3 * * *",
        "2026-03-28T23:30",
        "2026-03-29T02:00",
        ["29T00:00", "29T01:00"],
    ),
    (
        "Europe/Berlin",
        "30 * * * *",
        "2026-03-28T23:30",
        "2026-03-29T02:00",
        ["29T00:30", "29T01:30"],
    ),
    ("Europe/Berlin", "*/30 2 * * *", "2026-03-28T23:30", "2026-03-29T02:00", []),
    # Berlin, autumn: 03:00 +02 is followed by 02:00 +01, at 01:00 UTC.
    ("Europe/Berlin", "30 2 * * *", "2026-10-24T23:30", "2026-10-25T02:30", ["25T00:30"]),
    ("Europe/Berlin", "30 2 * * *", "2026-10-25T00:30", "2026-10-25T23:00", []),
    ("Europe/Berlin", "30 2 * * *", "2026-10-25T01:10", "2026-10-25T23:00", []),
    (
        "Europe/Berlin",
        "0 2,3 * * *",
        "2026-10-24T23:30",
        "2026-10-25T02:30",
        ["25T00:00", "25T02:00"],
    ),
    (
        "Europe/Berlin",
        "30 * * * *",
        "2026-10-24T23:30",
        "2026-10-25T02:30",
        ["25T00:30", "25T01:30"],
    ),
    (
        "Europe/Berlin",
        "*/30 2 * * *",
        "2026-10-24T23:30",
        "2026-10-25T02:30",
        ["25T00:00", "25T00:30", "25T01:00", "25T01:30"],
    ),
    # New York: 07:00 UTC in spring, 06:00 UTC in autumn.
    ("America/New_York", "30 2 * * *", "2026-03-08T06:30", "2026-03-08T08:00", ["08T07:00"]),
    ("America/New_York", "30 1 * * *", "2026-11-01T04:30", "2026-11-01T07:30", ["01T05:30"]),
    (
        "America/New_York",
        "30 * * * *",
        "2026-11-01T04:30",
        "2026-11-01T07:30",
        ["01T05:30", "01T06:30"],
    ),
    # Lord Howe changes by half an hour: at 15:30 UTC in October, 02:00 becomes 02:30; at 15:00 UTC in April 02:00
    # becomes 01:30.
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T15:00", "2026-10-03T17:00", ["03T15:30"]),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T14:00", "2026-04-04T16:30", ["04T14:45"]),
    (
        "Australia/Lord_Howe",
        "45 * * * *",
        "2026-04-04T14:00",
        "2026-04-04T16:30",
        ["04T14:45", "04T15:15", "04T16:15"],
    ),
    (
        "Australia/Lord_Howe",
        "45 * * * *",
        "2026-10-03T15:00",
        "2026-10-03T17:00",
        ["03T15:15", "03T15:45", "03T16:45"],
    ),
    # Santiago has no midnight on that day.
    ("America/Santiago", "0 0 * * *", "2026-09-06T03:30", "2026-09-06T05:30", ["06T04:00"]),
    # Where nothing changes.
    ("Asia/Kathmandu", "30 2 * * *", "2026-03-28T12:00", "2026-03-29T12:00", ["28T20:45"]),
    ("UTC", "30 2 * * *", "2026-03-28T12:00", "2026-03-29T12:00", ["29T02:30"]),
]


def fired(timing: Timing, begin: int, end: int) -> list[int]:
    return list(takewhile(lambda one: one < end, timing.after(begin)))


@pytest.mark.parametrize(("zone", "cron", "begin", "end", "expected"), NIGHTS)
def test_nights_on_which_clocks_change(
    zone: str, cron: str, begin: str, end: str, expected: list[str]
) -> None:
    timing = Timing(cron=cron, every=None, timezone=zone, anchor=0)
    month = begin[:8]
    found = fired(timing, parse_moment(f"{begin}:00Z"), parse_moment(f"{end}:00Z"))
    assert found == [parse_moment(f"{month}{one}:00Z") for one in expected]


def test_times_do_not_depend_on_where_one_begins() -> None:
    """Each firing follows from the one before it, as schedulers ask for it."""
    timing = Timing(cron="0,30 1-3 * * *", every=None, timezone="Europe/Berlin", anchor=0)
    begin, end = parse_moment("2026-10-24T12:00:00Z"), parse_moment("2027-03-29T12:00:00Z")
    whole = fired(timing, begin, end)
    single, at = [], begin
    while (at := next(timing.after(at))) < end:
        single.append(at)
    assert single == whole
    assert whole == sorted(set(whole))


def test_a_leap_day_comes_every_four_years() -> None:
    timing = Timing(cron="0 0 29 2 *", every=None, timezone="UTC", anchor=0)
    found = list(islice(timing.after(parse_moment("2026-01-01T00:00:00Z")), 2))
    assert found == [parse_moment(f"{year}-02-29T00:00:00Z") for year in (2028, 2032)]


def test_intervals_count_from_their_anchor_and_know_no_clock_changes() -> None:
    anchor = parse_moment("2026-03-28T22:00:00Z")
    timing = Timing(cron=None, every=86_400, timezone="Europe/Berlin", anchor=anchor + 123)
    assert next(timing.after(anchor)) == anchor + 86_400_000
    assert next(timing.after(anchor + 86_400_000)) == anchor + 2 * 86_400_000
    assert next(timing.after(anchor - 1)) == anchor


def test_nothing_fires_before_its_start_or_from_its_end_on() -> None:
    start, end = parse_moment("2026-05-01T02:00:00Z"), parse_moment("2026-05-03T02:00:00Z")
    timing = Timing(
        cron="0 2 * * *", every=None, timezone="UTC", anchor=0, starts_at=start, ends_at=end
    )
    assert list(timing.after(0)) == [start, start + 86_400_000]


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "60 * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "*/0 * * * *",
        "5-1 * * * *",
        "-1 * * * *",
        "0 0 * * MON-",
        "0 0 * * 1#6",
        "0\t0 * * *",
        "0 0 * * *\n",
        "\u0661 0 * * *",
        "0 0 * * " + "1," * 200 + "1",
        "*/" + "9" * 5000 + " * * * *",
    ],
)
def test_what_is_no_cron_expression_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match=r"expected five fields|not a cron|no such day"):
        check_cron(cron)
