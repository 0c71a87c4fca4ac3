"""A year of 200 schedules in 20 time zones, with two schedulers that are killed, stalled and restarted at random.

Each due firing is decided once: made, or accounted for by its policy. What is expected is computed here, date by date,
and not by what is tested.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from greenlet import greenlet

from jobs.states import Status
from storage.runs import Decision, Run, RunEnd
from storage.schedules import Revision
from tests.unit.scheduler.world import DAY, HOUR, MINUTE, Killed, World

#: Both hemispheres; half and quarter hours; some without daylight saving; Lord Howe changes by half an hour, Cairo and
#: Santiago at midnight.
ZONES = (
    "Africa/Cairo",
    "America/Chicago",
    "America/Halifax",
    "America/Los_Angeles",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/London",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "UTC",
)
SCHEDULES = 200
FIRST, LAST = date(2028, 1, 1), date(2028, 12, 31)  # a leap year
START = int(datetime(2028, 1, 1, tzinfo=UTC).timestamp() * 1000)
END = START + 366 * DAY

#: By how much the clocks of the two schedulers are wrong, in ms.
SKEWS = (30_000, -30_000)

#: What a decision may take when a scheduler is there: the skew, a stall, and a look under way elsewhere.
THERE = 5 * MINUTE


class Year:
    """The world, its two schedulers, and when neither was there."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(START)
        self.world.seconds = lambda: self.random.choice([0.0] * 20 + [20.0, 300.0])
        self.world.outcomes = lambda: self.random.choices(
            [[Status.COMPLETED], [Status.FAILED, Status.COMPLETED], [Status.FAILED]], [60, 2, 1]
        )[0]
        self.hub = greenlet.getcurrent()
        self.actors: list[greenlet | None] = [None, None]
        self.deaths = self.stalls = 0
        self.outages = sorted(self._outages())

    def _outages(self) -> Iterator[tuple[int, int]]:
        for _ in range(25):
            begin = START + self.random.randrange(365) * DAY + self.random.randrange(DAY)
            yield begin, begin + int(self.random.choice([0.2, 1, 5, 30]) * HOUR)

    def step(self) -> None:
        """At each call to store or ledger: mostly nothing, sometimes death or a stall."""
        chance = self.random.random()
        if greenlet.getcurrent() is self.hub or chance > 0.004:
            return
        if chance < 0.001:
            self.deaths += 1
            raise Killed
        self.stalls += 1
        self.hub.switch()

    def act(self, number: int) -> None:
        """Let a scheduler do what is due by its clock, until it stalls, dies or has nothing to do."""
        self.world.skew = SKEWS[number]
        actor = self.actors[number]
        if actor is None or actor.dead:
            actor = self.actors[number] = greenlet(self._fire, self.hub)
        actor.switch()
        self.world.skew = 0

    def _fire(self) -> None:
        try:
            while self.world.firer.fire():
                pass
        except Killed:
            pass

    def live(self) -> None:
        world = self.world
        world.step = self.step
        while world.now < END:
            due = world.turns.first()
            stalled = any(actor is not None and not actor.dead for actor in self.actors)
            # A stall ends while time goes on; otherwise nothing happens before it is somebody's turn.
            pause = self.random.choice([2_000, 10_000, 90_000]) if stalled else 1_000
            world.now = max(world.now + pause, (due or END) - 30_000 if not stalled else 0)
            for begin, end in self.outages:
                if begin <= world.now < end:
                    # Both die, wherever they are.
                    self.actors = [None, None]
                    world.now = end
            for number in self.random.sample([0, 1], 2):
                if self.random.random() < 0.8:
                    self.act(number)
        world.step = lambda: None
        world.skew = 0

    def absent(self, moment: int) -> bool:
        """Whether nobody was there for a firing due then in time."""
        return any(begin - 6 * MINUTE <= moment < end for begin, end in self.outages)


def wall(day: date, hour: int, minute: int, zone: ZoneInfo) -> int:
    """A time of day in ms: the first one where it comes twice, the end of the gap where it does not come."""
    told = datetime.combine(day, time(hour, minute))
    moment = told.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) != told:
        moment -= timedelta(hours=3)  # before the gap
        offset = moment.astimezone(zone).utcoffset()
        while moment.astimezone(zone).utcoffset() == offset:
            moment += timedelta(minutes=1)
    return int(moment.timestamp() * 1000)


def days() -> Iterator[date]:
    day = FIRST - timedelta(days=1)
    while day <= LAST + timedelta(days=1):
        yield day
        day += timedelta(days=1)


def following(name: str, **when: Any) -> dict[str, Any]:
    job = {"kind": "echo", "input": {"text_field": "output.text"}}
    return {"name": name, "job": job, "when": when}


def make(year: Year) -> list[tuple[Revision, list[int]]]:
    """The schedules, each with the fire times that it must have."""
    made = []
    for number in range(SCHEDULES):
        place = ZONES[number % len(ZONES)]
        zone = ZoneInfo(place)
        hour, minute = year.random.choice([0, 1, 2, 2, 3, 12]), year.random.choice([0, 15, 30, 45])
        fields: dict[str, Any] = {"timezone": place}
        sort = number % 10
        if number < 20:
            # Clocks change on Sundays and Fridays.
            fields["cron"] = f"{minute} {hour} * * 0,1,FRI"
            wanted = {wall(day, hour, minute, zone) for day in days() if day.weekday() in (0, 4, 6)}
        elif sort < 5:
            fields["cron"] = f"{minute} {hour} * * 0"
            wanted = {wall(day, hour, minute, zone) for day in days() if day.weekday() == 6}
        elif sort < 8:
            day_of_month = year.random.choice([1, 15, 29, 31])
            fields["cron"] = f"{minute} {hour} {day_of_month} * *"
            wanted = {wall(day, hour, minute, zone) for day in days() if day.day == day_of_month}
        elif sort == 8:
            fields["cron"] = f"{minute} {hour} 29 2 *"
            wanted = {wall(date(2028, 2, 29), hour, minute, zone)}
        else:
            step = year.random.choice([100, 400]) * HOUR
            fields["every"] = step // 1000
            wanted = set(range(START + step, END + DAY, step))
        # Some have runs of three jobs.
        fields["then"] = [] if number % 5 else [following("b"), following("c", min_rows=1)]
        schedule = year.world.schedule(
            **fields,
            missed=year.random.choice(["run_once", "run_all", "skip"]),
            overlap=year.random.choice(["skip", "queue", "cancel_previous"]),
            missed_window_seconds=year.random.choice([3 * 3600, 86_400]),
            jitter_seconds=year.random.choice([0, 0, 90]),
            retries=1,
        )
        made.append((schedule, sorted(one for one in wanted if START < one < END - HOUR)))
    return made


def check(year: Year, schedule: Revision, wanted: list[int]) -> Counter[str]:
    """Hold one schedule's history to what it must be."""
    history = [(run, end) for run, end in year.world.runs(schedule.id) if run.fire_at < END - HOUR]
    assert [run.fire_at for run, _ in history] == wanted
    counts: Counter[str] = Counter()
    made_up: Counter[int] = Counter()
    for run, end in history:
        late = run.decided_at - run.due_at
        counts["late" if run.late else str(run.decision)] += 1
        if run.decision is Decision.FIRE:
            assert_its_jobs(year, run, end)
        if not year.absent(run.due_at):
            assert run.decision is not Decision.MISSED
            assert not run.late
            assert late <= THERE
        if run.decision is Decision.MISSED:
            window = schedule.spec.missed_window_seconds * 1000
            assert late > THERE
            if schedule.spec.missed == "run_all":
                assert late > window
        if run.late:
            assert schedule.spec.missed != "skip"
            made_up[run.decided_at // HOUR] += 1
    if schedule.spec.missed == "run_once":
        assert all(count == 1 for count in made_up.values())
    return counts


def assert_its_jobs(year: Year, run: Run, end: RunEnd | None) -> None:
    """Each began once the one before it had completed, and all together were tried again once at most."""
    assert end is not None
    assert end.status in {"completed", "failed", "cancelled"}
    states = {one["step"]: one["status"] for one in end.jobs}
    assert set(states) == set(run.jobs)
    assert "completed" in states.values() or end.status != "completed"
    done = [year.world.jobs[run.jobs[name]] for name in states if states[name] != "skipped"]
    for before, job in pairwise(done):
        assert job.at >= before.at + before.seconds * 1000
    tries = sum(job.attempts - 1 for job in done)
    assert tries <= 1
    if end.status == "failed":
        assert tries == 1
        assert list(states.values())[len(done) - 1] == "failed"
    if end.status == "completed":
        assert set(states.values()) == {"completed"}


def test_every_firing_of_a_year_is_made_once_or_accounted_for() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        year = Year(seed=7)
        schedules = make(year)
        year.live()
    finally:
        structlog.reset_defaults()
    counts: Counter[str] = Counter()
    jobs: list[str] = []
    for schedule, wanted in schedules:
        counts += check(year, schedule, wanted)
        jobs += [job for run, _ in year.world.runs(schedule.id) for job in run.jobs.values()]
    assert len(jobs) == len(set(jobs)), "two firings share a job"
    assert set(year.world.jobs) <= set(jobs), "a job that no firing accounts for"
    repeated = sum(job.submissions > 1 for job in year.world.jobs.values())
    print(
        f"{sum(counts.values())} firings: {dict(counts)}; {year.deaths} deaths, {year.stalls} stalls, "
        f"{repeated} jobs submitted more than once"
    )
    assert min(counts["fire"], counts["late"], counts["missed"], year.deaths) > 50
    assert repeated, "no two were ever at the same firing: the test shows too little"
