"""When a schedule fires: five-field cron in a time zone, or a fixed interval. Pure: the same input, the same times.

Cron is read by cronsim, which follows Debian's cron, also at daylight-saving changes:

* Where neither the minute nor the hour begins with ``*``, an expression names times of day. One that the clock skips in
  spring fires at the first minute after the gap (several that fall into it once, together), and one that comes twice in
  autumn fires the first time only.
* Any other expression follows the clock as it is shown: what is skipped does not fire, what comes twice fires twice.

Intervals count elapsed seconds and know of no clock changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

#: Longest cron expression, in characters.
MOST_CRON = 200

#: Characters that a cron expression may have.
CRON_PATTERN = r"^[0-9A-Za-z*,/#-]+( [0-9A-Za-z*,/#-]+){4}$"

#: Years that times of schedules may lie in.
_YEARS = range(2000, 2200)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone(name: str) -> ZoneInfo:
    """An IANA time zone.

    Raises:
        ValueError: there is none of this name.
    """
    # The list is asked first: a name becomes part of a path.
    if name not in _zones():
        raise ValueError("expected an IANA time zone, such as Europe/Berlin or UTC")
    return ZoneInfo(name)


def day_of(moment: int, timezone: str) -> str:
    """The ISO day of a moment (ms) in a zone."""
    return datetime.fromtimestamp(moment / 1000, zone(timezone)).date().isoformat()


def check_cron(expression: str) -> None:
    """Check a cron expression.

    Raises:
        ValueError: it is none, or never matches.
    """
    if len(expression) > MOST_CRON or not re.fullmatch(CRON_PATTERN, expression):
        raise ValueError(
            "expected five fields separated by single spaces: minute hour day month weekday"
        )
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"not a cron expression: {str(error).lower()}") from None
    except (StopIteration, RuntimeError):
        raise ValueError("there is no such day, so it would never fire") from None


def parse_moment(text: str) -> int:
    """A moment in ms from RFC 3339 with an offset.

    Raises:
        ValueError: it is none, or lies outside of what is taken.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year not in _YEARS:
        raise ValueError("expected a time with an offset, such as 2026-11-02T22:00:00Z")
    return int(moment.timestamp() * 1000)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When to fire. Times are Unix ms; exactly one of ``cron`` and ``every`` is given."""

    cron: str | None
    every: int | None  #: seconds
    timezone: str
    anchor: int  #: where intervals are counted from
    starts_at: int | None = None  #: no firing before
    ends_at: int | None = None  #: no firing at or after

    def after(self, moment: int) -> Iterator[int]:
        """Fire times later than a moment, in order."""
        if self.starts_at is not None:
            moment = max(moment, self.starts_at - 1)
        for time in self._cron(moment) if self.cron else self._intervals(moment):
            if self.ends_at is not None and time >= self.ends_at:
                return
            yield time

    def _intervals(self, moment: int) -> Iterator[int]:
        step = (self.every or 0) * 1000
        first = self.anchor - self.anchor % 1000
        count = max(0, (moment - first) // step + 1)
        while True:
            yield first + count * step
            count += 1

    def _cron(self, moment: int) -> Iterator[int]:
        expression = self.cron or ""
        last = datetime.fromtimestamp(moment / 1000, zone(self.timezone))
        shown = any(part.startswith("*") for part in expression.split()[:2])
        for found in CronSim(expression, last):
            # Times of day that fall into a gap come together after it; and the library, which counts such times
            # without an offset, may begin before a moment in an hour that comes twice.
            if found.timestamp() <= last.timestamp():
                continue
            if shown:
                yield from _leapt_over(expression, last, found)
            last = found
            yield int(found.timestamp()) * 1000


#: How far a leap of the library over a change of the clock may reach.
_LEAP = timedelta(hours=3)


def _leapt_over(expression: str, last: datetime, found: datetime) -> Iterator[int]:
    """Times between two firings that the library leaps over where a clock changes by half an hour, in ms.

    It counts the minutes to the next firing by the clock of before (Lord Howe Island is the one place in use).
    """
    before, after = last.utcoffset(), found.utcoffset()
    if before is None or after is None or not (after - before) % timedelta(hours=1):
        return
    moment = max(last.astimezone(UTC), found.astimezone(UTC) - _LEAP).replace(second=0)
    while (moment := moment + timedelta(minutes=1)) < found.astimezone(UTC):
        wall = moment.astimezone(found.tzinfo).replace(tzinfo=None, fold=0, microsecond=0)
        if next(CronSim(expression, wall - timedelta(seconds=1))) == wall:
            yield int(moment.timestamp()) * 1000
