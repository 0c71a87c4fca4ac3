"""Older runs of a schedule go with their jobs and what these wrote, and nothing else does."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from jobs.errors import NotFound
from jobs.schedules import ScheduleSpec
from jobs.states import Status
from jobs.timing import parse_moment
from storage import retention
from storage.acceptance import Acceptance
from storage.firing import Firings
from storage.lateness import Look
from storage.objects import ObjectStore
from storage.retention import Retention
from storage.runs import Run, RunEnd, RunTable
from storage.schedules import Revision, ScheduleBook
from tests.integration.workers.workshop import TENANT, Workshop

#: Nights on which it fires, in the past so that no firing of its own comes in between.
NIGHTS = [f"2026-01-{day:02d}" for day in range(1, 10)]
FOREIGN = ("labelled/notes.txt", f"labelled/date={NIGHTS[0]}/part-mine.parquet")


class Nights:
    """One schedule, whose nights are driven by the test."""

    def __init__(self, shop: Workshop, bucket: ObjectStore, **fields: Any) -> None:
        self.shop = shop
        self.bucket = bucket
        self.allow(f"s3://{bucket.bucket}/")
        job = {
            "kind": "echo",
            "input": {"items": [{"text": "a"}, {"text": "b"}]},
            "output": {"uri": f"s3://{bucket.bucket}/labelled/", **fields.pop("output", {})},
            "params": fields.pop("params", {}),
            "max_errors": 0,
        }
        spec = ScheduleSpec.model_validate({"job": job, "cron": "0 0 1 1 *", **fields})
        self.schedule: Revision = ScheduleBook(shop.store, shop.ledger).create(TENANT, spec)[0]
        self.table = RunTable(shop.store, TENANT, self.schedule.id)

    def allow(self, *prefixes: str) -> None:
        shop = self.shop
        settings = shop.runtime.settings.model_copy(update={"s3_allowed_prefixes": prefixes})
        kept = Retention(settings, shop.store, shop.ledger, shop.submissions)
        acceptance = Acceptance(settings, shop.runtime.kinds, shop.store, shop.ledger)
        self.firings = Firings(shop.store, shop.ledger, shop.submissions, acceptance, kept)

    def begin(self, date: str) -> Run:
        """Let a night's job be submitted."""
        moment = parse_moment(f"{date}T02:00:00Z")
        run = self.firings._new_run(self.schedule, f"{moment}", moment, self.shop.ledger.now())
        assert self.table.decide(run)
        self.look()
        return run

    def night(self, date: str) -> str:
        """Let a night's job be done; its id."""
        run = self.begin(date)
        assert run.job is not None
        self.shop.run(run.job)
        self.look()
        return run.job

    def look(self) -> Look:
        look = self.firings.look(TENANT, self.schedule.id)
        assert look is not None
        return look

    def history(self) -> list[tuple[str, bool]]:
        """How each run ended, oldest first, and whether it was removed."""
        ends: list[RunEnd | None] = [self.table.end_of(mark.id) for mark in self.table.marks()]
        return [
            (end.status, end.removed_at is not None) for end in reversed(ends) if end is not None
        ]

    def left(self) -> list[str]:
        """Days of which anything lies there, but for what somebody else put there."""
        names = [found.name for found in self.bucket.list("labelled/date=")]
        return sorted(
            {name.split("/")[1].removeprefix("date=") for name in names if name not in FOREIGN}
        )

    def has(self, job: str) -> bool:
        try:
            self.shop.record(job)
        except NotFound:
            assert not list(self.shop.store.list(f"tenants/{TENANT}/jobs/{job}/"))
            return False
        return True


@pytest.fixture
def elsewhere(shop: Workshop) -> Iterator[ObjectStore]:
    """A bucket of somebody else's, with objects of theirs."""
    made = shop.store.in_bucket(f"elsewhere-{secrets.token_hex(6)}")
    made.ensure_bucket()
    for name in FOREIGN:
        made.put(name, b"mine")
    yield made
    for name in FOREIGN:
        assert made.get(name) == b"mine"
    for found in made.list(""):
        made.delete(found.name)
    made._client.remove_bucket(bucket_name=made.bucket)


def test_the_newest_runs_are_kept(shop: Workshop, elsewhere: ObjectStore) -> None:
    nights = Nights(shop, elsewhere, keep={"runs": 2})
    jobs = [nights.night(date) for date in NIGHTS[:4]]
    assert [nights.has(job) for job in jobs] == [False, False, True, True]
    assert nights.left() == NIGHTS[2:4]
    assert nights.history() == [("completed", True)] * 2 + [("completed", False)] * 2


def test_without_a_limit_all_are_kept(shop: Workshop, elsewhere: ObjectStore) -> None:
    nights = Nights(shop, elsewhere)
    for date in NIGHTS[:3]:
        nights.night(date)
    assert nights.left() == NIGHTS[:3]


def test_the_last_completed_run_stays_however_old_and_failed_ones_do_not(
    shop: Workshop, elsewhere: ObjectStore
) -> None:
    nights = Nights(shop, elsewhere, keep={"days": 1})
    jobs = [nights.night(NIGHTS[0])]
    good = nights.schedule
    nights.schedule = ScheduleBook(shop.store, shop.ledger).revise(
        TENANT,
        good.id,
        0,
        lambda spec: ScheduleSpec.model_validate_json(
            spec.model_copy(
                update={"job": spec.job.model_copy(update={"params": {"fail_on": "a"}})}
            ).model_dump_json()
        ),
    )
    jobs += [nights.night(date) for date in NIGHTS[1:3]]
    assert [shop.record(job).status for job in jobs] == ["completed", "failed", "failed"]
    assert nights.left() == NIGHTS[:1]
    nights.schedule = good
    jobs.append(nights.night(NIGHTS[3]))
    assert [nights.has(job) for job in jobs] == [False, False, False, True]
    assert nights.left() == NIGHTS[3:4]


def test_either_limit_keeps_a_run(shop: Workshop, elsewhere: ObjectStore) -> None:
    nights = Nights(shop, elsewhere, keep={"runs": 1, "days": 36_000})
    for date in NIGHTS[:2]:
        nights.night(date)
    assert nights.left() == NIGHTS[:2]


def test_what_latest_names_stays_until_it_names_another(
    shop: Workshop, elsewhere: ObjectStore
) -> None:
    nights = Nights(shop, elsewhere, keep={"runs": 1})
    first = nights.night(NIGHTS[0])
    newer = elsewhere.get("labelled/_latest.json")
    second = nights.begin(NIGHTS[1]).job
    assert second is not None
    shop.run(second)
    # As if the second night's output had found the bucket closed.
    elsewhere.put("labelled/_latest.json", newer)
    nights.look()
    assert (nights.has(first), nights.has(second)) == (True, True)
    assert NIGHTS[0] in nights.left()
    nights.night(NIGHTS[2])
    assert (nights.has(first), nights.has(second)) == (False, False)
    assert nights.left() == NIGHTS[2:3]


def test_a_job_that_is_tried_again_by_hand_is_waited_for(
    shop: Workshop, elsewhere: ObjectStore
) -> None:
    nights = Nights(shop, elsewhere, keep={"runs": 1})
    run = nights.begin(NIGHTS[0])
    assert run.job is not None
    shop.plan(run.job)
    shop.submissions.cancel(TENANT, run.job)
    shop.finalize(run.job)
    nights.look()
    shop.submissions.retry(TENANT, run.job)
    nights.night(NIGHTS[1])
    assert nights.has(run.job)
    shop.run(run.job)
    assert shop.record(run.job).status is Status.COMPLETED
    nights.night(NIGHTS[2])
    assert not nights.has(run.job)
    assert nights.history() == [("cancelled", True), ("completed", True), ("completed", False)]


def test_what_an_open_run_may_go_on_from_stays(shop: Workshop, elsewhere: ObjectStore) -> None:
    nights = Nights(shop, elsewhere, keep={"runs": 1})
    oldest = nights.night(NIGHTS[0])
    base = nights.night(NIGHTS[1])
    slow = nights.begin(NIGHTS[2]).job
    assert slow is not None
    nights.night(NIGHTS[3])
    assert (nights.has(oldest), nights.has(base), nights.has(slow)) == (False, True, True)
    shop.run(slow)
    nights.look()
    nights.night(NIGHTS[4])
    assert (nights.has(base), nights.has(slow)) == (False, False)
    assert nights.left() == NIGHTS[4:5]


def test_folders_of_jobs_go_too_and_nothing_below_a_prefix_that_is_no_longer_allowed(
    shop: Workshop, elsewhere: ObjectStore
) -> None:
    nights = Nights(shop, elsewhere, keep={"runs": 1}, output={"layout": "job", "format": "csv"})
    jobs = [nights.night(date) for date in NIGHTS[:2]]

    def folders() -> set[str]:
        found = elsewhere.list("labelled/job_")
        return {one.name.split("/")[1] for one in found}

    assert folders() == {jobs[1]}
    run = nights.begin(NIGHTS[2])
    nights.allow("s3://others/")
    assert run.job is not None
    shop.run(run.job)
    nights.look()
    assert not nights.has(jobs[1])
    assert folders() == {jobs[1], run.job}


def test_a_look_does_a_little_and_the_next_goes_on(
    shop: Workshop, elsewhere: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = Nights(shop, elsewhere)
    for date in NIGHTS[:6]:
        nights.night(date)
    monkeypatch.setattr(retention, "MOST_REMOVED", 2)
    book = ScheduleBook(shop.store, shop.ledger)
    book.revise(TENANT, nights.schedule.id, 0, lambda spec: _kept(spec, 1))
    seen = []
    while True:
        look = nights.look()
        seen.append(len(nights.left()))
        if look.again_at is None or look.again_at > shop.ledger.now():
            break
    assert seen == [4, 2, 1]
    calls = _counted(monkeypatch)
    nights.look()
    assert not [name for name in calls if "labelled" in name or "/jobs/" in name]


def _kept(spec: ScheduleSpec, runs: int) -> ScheduleSpec:
    return ScheduleSpec.model_validate({**spec.model_dump(mode="json"), "keep": {"runs": runs}})


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    for method in ("delete", "stat", "stream", "list", "put"):
        monkeypatch.setattr(ObjectStore, method, _noting(getattr(ObjectStore, method), calls))
    return calls


def _noting(call: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def noting(self: ObjectStore, name: str, *rest: Any, **more: Any) -> Any:
        calls.append(name)
        return call(self, name, *rest, **more)

    return noting


class Killed(BaseException):
    """Ends a scheduler as kill -9 would."""


def test_it_dies_anywhere_and_another_look_goes_on(
    shop: Workshop, elsewhere: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = Nights(shop, elsewhere, keep={"runs": 1})
    before = nights.night(NIGHTS[0])
    left, deaths = 0, 0

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def dies(self: ObjectStore, *rest: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return call(self, *rest, **more)

        return dies

    for number, date in enumerate(NIGHTS[1:]):
        job = nights.begin(date).job
        assert job is not None
        shop.run(job)
        left = 2 + 3 * number
        with monkeypatch.context() as patch, suppress(Killed):
            for method in ("delete", "put"):
                patch.setattr(ObjectStore, method, dying(getattr(ObjectStore, method)))
            nights.look()
            deaths -= 1
        deaths += 1
        nights.look()
        assert not nights.has(before)
        assert nights.left() == [date]
        before = job
    assert deaths == len(NIGHTS) - 1
    assert nights.history() == [("completed", True)] * deaths + [("completed", False)]
