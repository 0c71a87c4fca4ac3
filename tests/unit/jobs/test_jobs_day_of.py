"""The day that a firing belongs to is that of its schedule's own zone."""

from __future__ import annotations

import pytest

from jobs.timing import day_of, parse_moment


@pytest.mark.parametrize(
    ("moment", "timezone", "day"),
    [
        ("2026-11-28T00:30:00Z", "UTC", "2026-11-28"),
        ("2026-11-27T23:30:00Z", "Europe/Berlin", "2026-11-28"),
        ("2026-11-28T02:00:00Z", "America/New_York", "2026-11-27"),
        ("2026-11-28T11:00:00Z", "Pacific/Kiritimati", "2026-11-29"),
    ],
)
def test_a_firing_belongs_to_the_day_of_its_zone(moment: str, timezone: str, day: str) -> None:
    assert day_of(parse_moment(moment), timezone) == day
