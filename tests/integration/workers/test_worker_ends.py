"""How jobs are planned, computed and finalized when something is missing, late, killed or done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.ranges import RowRange
from jobs.rows import RowFailure
from jobs.states import Status
from storage.ledger.ranges import MOST_PLANNERS
from tests.integration.workers.workshop import TENANT, Workshop, expected, texts
from tests.plugins.echo_kind import Echo
from workers.outputs import Section
from workers.planner import _Planning


class Killed(BaseException):
    """What ends a process: nothing may catch it."""


def kill(*_: object) -> Any:
    raise Killed


def failing(rows: set[int], code: str) -> Callable[..., Any]:
    """An echo that refuses these rows for now."""
    outcome = Echo._outcome

    def refuse(self: Echo, row: Any, params: Any) -> Any:
        return RowFailure(code, "not now") if row.index in rows else outcome(self, row, params)

    return refuse


def test_a_job_from_start_to_end(shop: Workshop) -> None:
    job = shop.submit([*texts(11), None])
    shop.run(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(11)), {11: "missing_text"})
    shop.run(job)  # asked again: nothing happens
    assert shop.record(job).status is Status.COMPLETED


# --- deaths --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_lone_row_is_an_error_after_three_deaths(shop: Workshop, deaths: int) -> None:
    job = shop.submit(texts(1))
    shop.plan(job)
    for _ in range(deaths):
        shop.die(job)
    shop.work()
    shop.finalize(job)
    survived = deaths < 3
    results, errors = (expected(range(1)), {}) if survived else ({}, {0: "worker_lost"})
    assert shop.outcome(job) == (Status.COMPLETED, results, errors)


def test_three_deaths_of_many_rows_cost_none_of_them(shop: Workshop) -> None:
    job = shop.submit(texts(10))
    shop.plan(job)
    for _ in range(3):
        shop.die(job)
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(10)), {})


def test_a_worker_that_must_stop_commits_what_it_has_and_that_is_no_attempt(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.submit(texts(20))
    shop.plan(job)
    run = Echo.run
    windows = 0

    def stop_at_the_second(self: Echo, *rest: Any) -> Any:
        nonlocal windows
        windows += 1
        if windows == 2:
            shop.runtime.draining.set()
        return run(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Echo, "window_rows", 2)
        patch.setattr(Echo, "run", stop_at_the_second)
        shop.work_once()
    redis = shop.ledger.client.redis
    assert redis.hgetall(f"job:{job}:attempts") == {}
    assert redis.hgetall(f"job:{job}:leases") == {}
    assert [len(part.rows) for part in shop.ledger.ranges.parts(job)] == [2]
    shop.runtime.draining.clear()
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(20)), {})


# --- parts that the store does not have ------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["missing", "cut", "changed", "forgotten"])
def test_what_the_store_does_not_have_is_computed_again(shop: Workshop, harm: str) -> None:
    job = shop.submit(texts(15))
    shop.plan(job)
    shop.work()
    victim = shop.parts(job)[1]
    data = shop.store.get(victim)
    match harm:
        case "missing":
            shop.store.delete(victim)
        case "cut":
            shop.store.put(victim, data[:-5])
        case "changed":
            shop.store.put(victim, data[:-8] + bytes(8))
        case "forgotten":  # only by the ledger
            key = f"job:{job}:done"
            shop.ledger.client.redis.zremrangebyrank(key, 1, 1)
    shop.finalize(job)
    assert not shop.record(job).status.ended
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(15)), {})


@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_a_shard_that_cannot_be_read_back_fails_its_job(shop: Workshop, harm: str) -> None:
    """Nothing says any more what its rows were; the input may be another by now."""
    job = shop.submit(texts(15))
    shop.plan(job)
    names = shop.names(job)
    victim = next(iter(shop.store.list(names.shards))).name
    if harm == "missing":
        shop.store.delete(victim)
    else:
        shop.store.put(victim, shop.store.get(victim)[:-5])
    shop.work()
    shop.finalize(job)
    record = shop.record(job)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert record.error["code"] == "internal_error"


def test_a_finalizer_that_was_killed_is_followed_by_another(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.submit(texts(15))
    shop.plan(job)
    shop.work()
    with monkeypatch.context() as patch:
        patch.setattr(Section, "finish", kill)
        with pytest.raises(Killed):
            shop.finalize(job)
    shop.finalize(job)
    assert shop.record(job).status is Status.FINALIZING  # the first may still live
    shop.give_up_roles(job)
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(15)), {})


WRITES = ("put", "put_once", "copy", "begin_upload", "upload_part", "complete_upload", "delete")


def test_a_finalizer_may_be_killed_before_every_single_write(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an output of several parts, the smallest that S3 takes."""
    monkeypatch.setattr("workers.outputs.PART_BYTES", 5 << 20)
    monkeypatch.setattr("workers.finalizer.SAVE_BYTES", 5 << 20)
    large = ["x" * 900_000 for _ in range(13)]
    job = shop.submit([*large, None])
    shop.plan(job)
    shop.work()
    left = 0

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return write(*args, **kwargs)

        return call

    for name in WRITES:
        monkeypatch.setattr(shop.store, name, dying(getattr(shop.store, name)))
    deaths = 0
    while not shop.record(job).status.ended:
        left = deaths + 1
        try:
            shop.finalize(job)
        except Killed:
            deaths += 1
            shop.give_up_roles(job)
        assert deaths < 40
    left = 0
    assert deaths > len(WRITES)
    status, results, errors = shop.outcome(job)
    assert status is Status.COMPLETED
    assert errors == {13: "missing_text"}
    assert sorted(results) == list(range(13))


# --- windows -------------------------------------------------------------------------------------------


def test_rows_that_nobody_reached_before_the_window_passed_are_errors(shop: Workshop) -> None:
    job = shop.submit([*texts(3), None, *["late"] * 8], window="1h")
    shop.plan(job)
    rows, _ = shop.lease(job)  # by somebody who is too slow
    shop.work()
    shop.expire(job)
    shop.finalize(job)
    status, results, errors = shop.outcome(job)
    assert status is Status.EXPIRED
    assert rows.start == 0
    assert rows.stop > 3
    assert errors == {row: "missing_text" if row == 3 else "expired" for row in range(rows.stop)}
    assert set(results) == set(range(rows.stop, 12))
    for line in shop.lines(job, "errors"):
        said = (line["custom_id"], line["source"], line["line"])
        assert said == (f"r{line['index']}", "items", line["index"] + 1)


def test_a_job_that_expires_before_it_was_planned_is_planned_all_the_same(shop: Workshop) -> None:
    job = shop.submit(texts(6), window="1h")
    shop.expire(job)
    shop.run(job)
    assert shop.outcome(job) == (Status.EXPIRED, {}, dict.fromkeys(range(6), "expired"))


@pytest.mark.parametrize("expired", [False, True])
def test_an_input_that_kills_its_planners_ends_its_job(shop: Workshop, expired: bool) -> None:
    """Also a job that has expired, and so cannot fail any more."""
    job = shop.submit(texts(6), window="1h")
    if expired:
        shop.expire(job)
    shop.ledger.client.redis.hset(f"job:{job}", "plannings", MOST_PLANNERS)
    shop.plan(job)
    shop.finalize(job)
    assert shop.outcome(job) == (Status.EXPIRED if expired else Status.FAILED, {}, {})


# --- planners ------------------------------------------------------------------------------------------


def test_a_planner_killed_between_store_and_ledger_leaves_nothing_to_read_again(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.submit(texts(15))
    with monkeypatch.context() as patch:
        patch.setattr(_Planning, "_seal", kill)
        with pytest.raises(Killed):
            shop.plan(job)
    assert shop.record(job).total is None
    shop.give_up_roles(job)
    with monkeypatch.context() as patch:
        patch.setattr(_Planning, "_lines", kill)
        shop.plan(job)
    assert shop.record(job).total == 15
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(15)), {})


def test_a_planner_killed_half_way_is_followed_by_one_that_cuts_alike(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.submit(texts(20))
    add = _Planning._add
    added: list[RowRange] = []

    def two_then_kill(self: _Planning, rows: Any) -> None:
        if len(added) == 2:
            raise Killed
        added.append(rows)
        add(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(_Planning, "_add", two_then_kill)
        with pytest.raises(Killed):
            shop.plan(job)
    shop.work()
    shop.give_up_roles(job)
    shop.plan(job)
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(20)), {})
    shards = [found.name for found in shop.store.list(shop.names(job).shards)]
    assert len(shards) == 4


# --- retries -------------------------------------------------------------------------------------------


def test_a_retry_computes_only_what_has_no_result_and_the_newest_outcome_counts(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.submit([*texts(10), None])
    odd = {1, 3, 5, 7, 9}
    with monkeypatch.context() as patch:
        patch.setattr(Echo, "_outcome", failing(odd, "first"))
        shop.run(job)
    assert shop.outcome(job)[2] == {**dict.fromkeys(odd, "first"), 10: "missing_text"}
    assert shop.submissions.retry(TENANT, job).attempts == 2
    with monkeypatch.context() as patch:
        patch.setattr(Echo, "_outcome", failing({0, 3, 4}, "second"))  # 0 and 4 are not asked
        shop.run(job)
    good = set(range(10)) - {3}
    errors = {3: "second", 10: "missing_text"}
    assert shop.outcome(job) == (Status.COMPLETED, expected(sorted(good)), errors)
    assert shop.submissions.retry(TENANT, job).attempts == 3
    shop.run(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(10)), {10: "missing_text"})


def test_a_cancelled_job_goes_on_where_it_was_when_tried_again(shop: Workshop) -> None:
    job = shop.submit(texts(15))
    shop.plan(job)
    rows, zombie = shop.lease(job)
    shop.work()
    shop.submissions.cancel(TENANT, job)
    shop.finalize(job)
    done = range(rows.stop, 15)
    assert shop.outcome(job) == (Status.CANCELLED, expected(done), {})
    assert shop.submissions.retry(TENANT, job).base == len(done)
    shop.plan(job)
    shop.ledger.ranges.release(job, rows, zombie)
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(15)), {})
