"""Incremental runs: only what changed is computed, and each night's output is what a full run gives."""

from __future__ import annotations

import sqlite3
from itertools import count
from typing import Any

import pytest

from jobs.errors import Unavailable
from jobs.names import JobNames
from jobs.plan import Plan
from jobs.schedule_names import ScheduleNames
from jobs.states import Status
from tests.integration.workers.nights import Nights, row
from tests.integration.workers.workshop import TENANT, Workshop


@pytest.fixture
def nights(shop: Workshop) -> Nights:
    return Nights(shop)


def names(*numbers: int) -> list[dict[str, Any]]:
    return [row(f"r{number}") for number in numbers]


def test_only_what_changed_is_computed(nights: Nights) -> None:
    nights.lay({"a": names(*range(10)), "b": names(*range(10, 20))})
    first = nights.run()
    assert nights.counts(first) == {"new": 20, "computed": 20}
    assert nights.base(first) is None

    changed = [row("r3", "another text"), *names(4, 5, 6, 7, 8, 9, 30, 31)]
    nights.lay({"a": changed, "b": names(*range(10, 20))})
    second = nights.run()
    assert nights.counts(second) == {
        "new": 2,
        "changed": 1,
        "carried": 16,
        "computed": 3,
        "gone": 3,
    }
    assert nights.base(second) == first
    assert nights.same(second, nights.plain())
    record = nights.shop.record(second)
    assert (record.status, record.completed, record.input_tokens) == (Status.COMPLETED, 19, 4)
    third = nights.run()
    assert nights.counts(third) == {"carried": 19}
    assert (nights.base(third), nights.shop.record(third).input_tokens) == (second, 0)
    assert nights.same(third, second)


def test_rows_are_known_wherever_they_moved(nights: Nights) -> None:
    unnamed = [{"text": f"no name {number}"} for number in range(7)]
    rows = [*names(*range(12)), *unnamed]
    nights.lay({"a": rows[:10], "b": rows[10:]})
    nights.run()
    # Renamed, split, merged, turned round; one row is there twice, another has another id now.
    moved = [*reversed(rows), row("r0"), row("other", "r1")]
    nights.lay({"z": moved[:5], "new/one": moved[5:6], "0": moved[6:]})
    second = nights.run()
    assert nights.counts(second) == {"carried": 21}
    assert nights.same(second, nights.plain())


def test_fields_that_are_only_carried_along_come_from_the_new_row(nights: Nights) -> None:
    nights.lay({"a": [row("a", seen=1), row("b", seen={"deep": [1, 2]})]})
    nights.run(carry=["seen", "more"])
    nights.lay({"a": [row("b", seen=7, more=None), row("a", seen=2)]})
    second = nights.run(carry=["seen", "more"])
    assert nights.counts(second) == {"carried": 2}
    assert nights.same(second, nights.plain(carry=["seen", "more"]))
    assert b'"fields":{"seen":7' in nights.bytes_of(second)


def test_other_parameters_compute_all_anew(nights: Nights) -> None:
    nights.lay({"a": [*names(*range(6)), {"text": "no name"}]})
    nights.run()
    second = nights.run({"upper": True})
    assert nights.counts(second) == {"changed": 7, "computed": 7}
    assert nights.same(second, nights.plain({"upper": True}))
    back = nights.run()
    assert nights.counts(back) == {"changed": 7, "computed": 7}


def test_a_full_run_computes_all_and_still_compares(nights: Nights) -> None:
    nights.lay({"a": names(*range(6))})
    nights.run()
    nights.lay({"a": names(*range(1, 7))})
    full = nights.run(full=True)
    assert nights.counts(full) == {"new": 1, "computed": 6, "gone": 1}
    assert nights.shop.record(full).input_tokens == 6
    third = nights.run()
    assert nights.counts(third) == {"carried": 6}
    assert nights.base(third) == full


def test_rows_that_failed_are_tried_again_and_bad_ones_are_told(nights: Nights) -> None:
    nights.lay({"a": [row("a"), row("b", "poison"), {"custom_id": "c"}, row("d")]})
    first = nights.run({"fail_on": "poison"})
    assert nights.counts(first) == {"new": 3, "computed": 3, "failed": 2}
    nights.lay({"a": [row("a"), row("b", "poison"), row("c"), row("d")]})
    second = nights.run({"fail_on": "poison"})
    assert nights.counts(second) == {
        "retried": 1,
        "changed": 1,
        "carried": 2,
        "computed": 2,
        "failed": 1,
    }
    assert nights.same(second, nights.plain({"fail_on": "poison"}))


def test_measured_results_are_the_same_as_a_full_runs(nights: Nights) -> None:
    nights.lay({"a": [row(f"r{n}", gold=f"r{n}" if n % 3 else "x") for n in range(12)]})
    nights.run({"evaluate": True})
    nights.lay({"b": [row(f"r{n}", gold=f"r{n}" if n % 3 else "x") for n in range(2, 14)]})
    second, plain = nights.run({"evaluate": True}), nights.plain({"evaluate": True})
    assert nights.counts(second) == {"new": 2, "carried": 10, "computed": 2, "gone": 2}
    assert nights.shop.record(second).evaluation == nights.shop.record(plain).evaluation is not None


def test_a_planner_that_died_is_gone_on_with_from_the_same_run(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = nights.shop
    nights.lay({"a": names(*range(40))})
    first = nights.run()
    nights.lay({"a": names(*range(3, 45))})
    job = nights.submit()
    with monkeypatch.context() as patch:
        put, planned = shop.store.put, count(1)

        def dying(name: str, *given: Any) -> None:
            if "/shards/" in name and next(planned) > 3:
                raise Unavailable("gone")
            put(name, *given)

        patch.setattr(shop.store, "put", dying)
        shop.plan(job)
    begun = nights.shards(job)
    assert len(begun) == 3
    # Newer runs come meanwhile; what the first one left stays for as long as it is needed.
    nights.lay({"b": names(*range(50))})
    newer = [nights.run() for _ in range(3)]
    assert [one.job for one in nights.indexes.newest()] == [newer[2], newer[1], first]
    nights.lay({"a": names(*range(3, 45))})
    shop.give_up_roles(job)
    shop.run(job)
    assert begun.items() <= nights.shards(job).items()
    assert nights.counts(job) == {"new": 5, "carried": 37, "computed": 5, "gone": 3}
    assert nights.base(job) == first
    assert nights.same(job, nights.plain())
    assert first not in [one.job for one in nights.indexes.newest()]


def test_a_damaged_index_is_passed_over(nights: Nights) -> None:
    shop = nights.shop
    nights.lay({"a": names(*range(6))})
    first = nights.run()
    nights.lay({"a": names(*range(8))})
    nights.run()
    newest = next(nights.indexes.newest())
    folder = ScheduleNames(TENANT, nights.schedule).indexes("") + newest.key
    damaged = next(one for one in shop.store.list(folder) if "/outputs/" in one.name)
    shop.store.put(damaged.name, b"x" * damaged.size)
    third = nights.run()
    assert (nights.base(third), nights.counts(third)) == (
        first,
        {"new": 2, "carried": 6, "computed": 2},
    )
    assert nights.same(third, nights.plain())


def test_an_index_that_is_lost_under_a_plan_fails_the_job_by_name(nights: Nights) -> None:
    shop = nights.shop
    nights.lay({"a": names(*range(6))})
    nights.run()
    job = nights.submit()
    shop.plan(job)
    plan = Plan.model_validate_json(shop.store.get(JobNames(TENANT, job).plan))
    assert plan.carry is not None
    assert plan.carry.base is not None
    nights.indexes.remove(plan.carry.base)
    shop.store.delete(JobNames(TENANT, job).sealed)
    shop.ledger.client.redis.hset(f"job:{job}", mapping={"planner_until": 0})
    shop.ledger.client.redis.hdel(f"job:{job}", "sealed")
    shop.plan(job)
    shop.finalize(job)
    record = shop.record(job)
    assert (record.status, (record.error or {})["code"]) == (Status.FAILED, "base_lost")
    again = nights.run()
    assert nights.counts(again) == {"new": 6, "computed": 6}


def test_old_indexes_go_and_the_schedules_deletion_takes_all(nights: Nights) -> None:
    shop = nights.shop
    nights.lay({"a": names(*range(6))})
    jobs = [nights.run() for _ in range(4)]
    assert [one.job for one in nights.indexes.newest()] == jobs[:1:-1]
    assert nights.indexes.pins() == {}
    late = nights.submit()
    shop.plan(late)
    shop.work()
    nights.book.delete(TENANT, nights.schedule)
    shop.finalize(late)
    assert shop.record(late).status is Status.COMPLETED
    folder = ScheduleNames(TENANT, nights.schedule)
    assert list(shop.store.list(folder.corpus(""))) == []


def test_a_failed_night_is_no_base_and_its_retry_is(nights: Nights) -> None:
    shop = nights.shop
    nights.lay({"a": names(*range(12))})
    first = nights.run()
    nights.lay({"a": names(*range(2, 14))})
    job = nights.submit()
    shop.plan(job)
    shop.lease(job)  # somebody who does nothing with it
    shop.work()
    shop.submissions.cancel(TENANT, job)
    shop.finalize(job)
    assert shop.record(job).status is Status.CANCELLED
    assert [one.job for one in nights.indexes.newest()] == [first]
    shop.submissions.retry(TENANT, job)
    shop.run(job)
    assert shop.record(job).status is Status.COMPLETED
    assert nights.counts(job) == {"new": 2, "carried": 10, "computed": 2, "gone": 2}
    assert nights.same(job, nights.plain())
    assert nights.base(nights.run()) == job


def warnings(nights: Nights, job: str) -> list[str]:
    return [one["code"] for one in nights.shop.record(job).warnings]


def contents(monkeypatch: pytest.MonkeyPatch, *known: str | None) -> None:
    """What the model is found to be, from one time that it is asked for to the next; the last one stays."""
    left = list(known)

    def content(*_: object) -> str | None:
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr("workers.bases.content_of", content)
    monkeypatch.setattr("workers.indexing.content_of", content)


def test_another_model_under_the_same_name_computes_all(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights.lay({"a": names(*range(6))})
    contents(monkeypatch, "one")
    nights.run(model="pkg:some_model")
    again = nights.run(model="pkg:some_model")
    assert nights.counts(again) == {"carried": 6}
    contents(monkeypatch, "two")
    other = nights.run(model="pkg:some_model")
    assert nights.counts(other) == {"changed": 6, "computed": 6}


def test_a_model_that_nothing_tells_of_computes_all_and_says_so(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights.lay({"a": names(*range(6))})
    contents(monkeypatch, None)
    for known in ({"new": 6}, {"changed": 6}):
        job = nights.run(model="pkg:some_model")
        assert nights.counts(job) == {**known, "computed": 6}
        assert warnings(nights, job) == ["model_content_unknown"]


def test_a_model_that_is_replaced_meanwhile_leaves_no_index(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights.lay({"a": names(*range(6))})
    contents(monkeypatch, "one", "two")
    job = nights.run(model="pkg:some_model")
    assert warnings(nights, job) == ["index_not_written"]
    assert list(nights.indexes.newest()) == []


def full_disk() -> sqlite3.Connection:
    connection = sqlite3.connect("", isolation_level=None)
    connection.execute("PRAGMA max_page_count=4")
    return connection


def test_a_full_local_disk_lets_planning_wait_and_costs_at_most_the_index(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = nights.shop
    nights.lay({"a": names(*range(600))})
    first = nights.run()
    job = nights.submit()
    with monkeypatch.context() as patch:
        patch.setattr("storage.corpus.lookup.open_scratch", full_disk)
        shop.plan(job)
    record = shop.record(job)
    assert record.status is Status.VALIDATING
    assert "TMPDIR" in (record.waiting or "")
    shop.give_up_roles(job)
    with monkeypatch.context() as patch:
        patch.setattr("storage.corpus.building.open_scratch", full_disk)
        shop.run(job)
    assert shop.record(job).status is Status.COMPLETED
    assert nights.counts(job) == {"carried": 600}
    assert warnings(nights, job) == ["index_not_written"]
    assert [one.job for one in nights.indexes.newest()] == [first]


def test_a_finalizer_that_died_leaves_the_same_index(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = nights.shop
    nights.lay({"a": names(*range(30))})
    job = nights.submit()
    shop.plan(job)
    shop.work()
    with monkeypatch.context() as patch:
        put_once = shop.store.put_once

        def dying(name: str, *given: Any) -> bool:
            if name.endswith("manifest.json"):
                raise Unavailable("gone")
            return put_once(name, *given)

        patch.setattr(shop.store, "put_once", dying)
        shop.finalize(job)
    assert not shop.record(job).status.ended
    before = list(nights.indexes.newest())
    assert [one.job for one in before] == [job]
    shop.give_up_roles(job)
    shop.finalize(job)
    assert shop.record(job).status is Status.COMPLETED
    assert list(nights.indexes.newest()) == before
    assert nights.counts(nights.run()) == {"carried": 30}
