"""What the ledger forgot comes back from the store: single jobs, the acts of the last minutes, and all of it."""

from __future__ import annotations

import threading

import pytest

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.names import JobNames
from jobs.ranges import RowRange
from jobs.spec import JobSpec
from jobs.states import Status
from storage import rebuild as rebuilding
from storage.intents import Act, Intent, IntentIndex
from storage.keys import KeyRing
from storage.ledger import Replaced
from storage.parts import encode_part
from storage.rebuild import rebuild
from storage.replay import Replay
from storage.restore import restore_job
from tests.integration.workers.workshop import TENANT, Workshop, expected, texts


def forget(shop: Workshop) -> None:
    """Lose Redis whole."""
    shop.ledger.client.redis.flushall()


def forget_job(shop: Workshop, job: str) -> None:
    """Lose what the ledger knows of one job."""
    redis = shop.ledger.client.redis
    for name in redis.scan_iter(f"job:{job}*"):
        redis.delete(name)
    redis.srem("active", job)
    redis.zrem(f"tenant:{TENANT}:jobs", job)


def restore(shop: Workshop, job: str) -> Status | None:
    return restore_job(shop.store, shop.ledger, TENANT, job, new_token())


def build(shop: Workshop) -> rebuilding.Rebuilt:
    return rebuild(shop.store, shop.ledger, shop.installation.id)


def put_part(shop: Workshop, job: str, start: int, stop: int, token: str) -> None:
    """A part as some worker left it, whether committed or not."""
    rows = RowRange(start, stop)
    lines = [b'{"index":%d}\n' % row for row in range(start, stop)]
    shop.store.put(JobNames(TENANT, job).part(rows, token), encode_part(rows, lines, []))


def half_done(shop: Workshop, count: int = 15) -> tuple[str, RowRange, str]:
    """A job of which one range is leased and all others are done."""
    job = shop.submit(texts(count))
    shop.plan(job)
    rows, token = shop.lease(job)
    shop.work()
    return job, rows, token


# --- one job ---------------------------------------------------------------------------------------------


def test_done_parts_are_kept_and_gaps_are_computed(shop: Workshop) -> None:
    job, rows, zombie = half_done(shop)
    kept = shop.parts(job)
    before = shop.record(job)
    assert restore(shop, job) is Status.IN_PROGRESS
    assert shop.parts(job) == kept
    after = shop.record(job)
    assert (after.completed, after.total) == (before.completed, 15)
    assert after.input_tokens == before.input_tokens
    assert after.version > before.version
    assert shop.ledger.ranges.heartbeat(job, rows, zombie).value == "lost"
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(15)), {})


def test_parts_are_chosen_by_start_then_the_longest_and_overlaps_are_skipped(
    shop: Workshop,
) -> None:
    job = shop.submit(texts(10))
    shop.plan(job)
    assert shop.ledger.ranges.claim(job, new_token())
    parts = [(0, 2), (0, 3), (2, 5), (4, 5), (6, 8), (7, 10)]
    for number, (start, stop) in enumerate(parts):
        put_part(shop, job, start, stop, f"{number:032d}")
    shop.store.put(JobNames(TENANT, job).part(RowRange(3, 4), "9" * 32), b"no part at all")
    restore(shop, job)
    done = [(part.rows.start, part.rows.stop) for part in shop.ledger.ranges.parts(job)]
    assert done == [(0, 3), (4, 5), (6, 8)]
    pending = shop.ledger.client.redis.zrange(f"job:{job}:pending", 0, -1)
    assert pending == [str(RowRange(*rows)) for rows in ((3, 4), (5, 6), (8, 10))]
    claim = shop.ledger.ranges.claim(job, new_token())
    assert claim is not None
    assert (claim.rows, claim.origin) == (RowRange(3, 4), RowRange(0, 5))


def test_a_job_whose_rows_are_all_done_is_finalized(shop: Workshop) -> None:
    job = shop.submit(texts(10))
    shop.plan(job)
    shop.work()
    assert restore(shop, job) is Status.FINALIZING
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(10)), {})


def test_a_cancelled_job_stays_cancelled(shop: Workshop) -> None:
    job, _, _ = half_done(shop)
    shop.submissions.cancel(TENANT, job)
    assert restore(shop, job) is Status.CANCELLING
    assert shop.ledger.ranges.claim(job, new_token()) is None
    shop.finalize(job)
    assert shop.outcome(job) == (Status.CANCELLED, expected(range(5, 15)), {})


def test_a_job_that_was_not_planned_to_its_end_is_planned(shop: Workshop) -> None:
    job, _, _ = half_done(shop)
    names = shop.names(job)
    shop.store.delete(names.sealed)
    assert restore(shop, job) is Status.IN_PROGRESS
    assert shop.record(job).total is None
    shop.plan(job)
    assert shop.record(job).total == 15
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(15)), {})


def test_a_further_generation_is_restored(shop: Workshop) -> None:
    job, _, _ = half_done(shop)
    shop.submissions.cancel(TENANT, job)
    shop.finalize(job)
    shop.submissions.retry(TENANT, job)
    shop.plan(job)
    assert restore(shop, job) is Status.IN_PROGRESS
    record = shop.record(job)
    assert (record.attempts, record.base, record.completed, record.total) == (2, 10, 10, 15)
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(15)), {})


def test_what_is_no_job_is_not_restored(shop: Workshop) -> None:
    assert restore(shop, "job_unknown") is None
    assert shop.ledger.jobs.find("job_unknown") is None


def test_a_restorer_that_was_replaced_learns_of_it(shop: Workshop) -> None:
    job, rows, _ = half_done(shop)
    first, second = new_token(), new_token()
    begin = shop.ledger.restoring.begin
    fields = shop.submissions.load(TENANT, job).new_job().fields()
    begin(job, first, TENANT, 1, fields)
    begin(job, second, TENANT, 1, fields)
    with pytest.raises(Replaced):
        shop.ledger.restoring.enter(job, first, rows, [])
    with pytest.raises(Replaced):
        shop.ledger.restoring.end(job, first, rows=None, warnings="[]", cancelled=False)


@pytest.mark.parametrize("decide", ["failed", "cancelled"])
def test_a_decision_in_the_middle_of_a_restore_stands(shop: Workshop, decide: str) -> None:
    """And nobody finalizes, plans or expires the job before all that is done has been entered."""
    job, rows, _ = half_done(shop)
    token, restoring = new_token(), shop.ledger.restoring
    fields = shop.submissions.load(TENANT, job).new_job().fields()
    restoring.begin(job, token, TENANT, 1, [*fields, "expires_at", 1])
    restoring.enter(job, token, rows, [])
    assert shop.ledger.ranges.plan_begin(job, new_token()).value == "held"
    assert shop.ledger.ranges.sweep(job).status is Status.IN_PROGRESS
    if decide == "failed":
        assert shop.ledger.jobs.fail(job, {"code": "kind_broken", "message": ""})
    else:
        assert shop.ledger.jobs.cancel(job)[0]
    assert shop.ledger.ranges.final_begin(job, new_token())[0].value == "held"
    restoring.enter(job, token, RowRange(5, 10), [])
    restoring.end(job, token, rows=15, warnings="[]", cancelled=decide == "failed")
    assert shop.record(job).outcome == decide
    assert shop.ledger.ranges.final_begin(job, new_token())[0].value == "ok"


# --- the whole ledger --------------------------------------------------------------------------------------


def test_a_ledger_that_was_lost_is_built_again(shop: Workshop) -> None:
    key = KeyRing(shop.store, shop.ledger).create(TENANT, "laptop")[1]
    ended = shop.submit(texts(5))
    shop.run(ended)
    spec = JobSpec.model_validate({"kind": "echo", "input": {"items": [{"text": "x"}]}})
    promised = shop.submissions.submit(TENANT, spec, None, "once")[0].id
    running, _, _ = half_done(shop)
    before = shop.record(ended)
    forget(shop)
    with pytest.raises(Unavailable):
        shop.record(ended)
    found = build(shop)
    assert (found.keys, sum(found.jobs.values())) == (1, 3)
    assert KeyRing(shop.store, shop.ledger).check(key).tenant == TENANT
    after = shop.record(ended)
    assert (after.status, after.completed, after.total) == (Status.COMPLETED, 5, 5)
    assert (after.created_at, after.ended_at) == (before.created_at, before.ended_at)
    again, new = shop.submissions.submit(TENANT, spec, None, "once")
    assert (again.id, new) == (promised, False)
    for job, rows in ((promised, 1), (running, 15)):
        shop.run(job)
        assert len(shop.outcome(job)[1]) == rows
    with pytest.raises(Unavailable, match="whole"):
        build(shop)


def test_limits_outlive_the_ledger(shop: Workshop) -> None:
    """Also those of a job that had ended, for it may be tried again."""
    body = {
        "kind": "echo",
        "input": {"items": [{"text": "7"}, {"text": "7"}, {"text": "1"}]},
        "params": {"fail_on": "7"},
        "max_errors": 1,
    }
    job = shop.submissions.submit(TENANT, JobSpec.model_validate(body), None)[0].id
    shop.run(job)
    assert shop.record(job).status is Status.FAILED
    forget(shop)
    build(shop)
    shop.submissions.retry(TENANT, job)
    shop.run(job)
    assert shop.record(job).status is Status.FAILED


def test_a_second_builder_waits(shop: Workshop) -> None:
    forget(shop)
    assert shop.ledger.restoring.lock(new_token())
    with pytest.raises(Unavailable, match="somebody else"):
        build(shop)
    assert shop.ledger.epoch() is None


def test_a_builder_that_lost_its_lock_stops(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was frozen: its jobs are refused, and it says nothing of being done."""
    half_done(shop)
    forget(shop)
    whole = restore_job

    def lose(*arguments: object) -> Status | None:
        shop.ledger.client.redis.set("ledger:rebuild", "another")
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rebuilding, "restore_job", lose)
    with pytest.raises(Unavailable):
        build(shop)
    assert shop.ledger.epoch() is None


def test_a_builder_that_comes_late_harms_no_whole_ledger(shop: Workshop) -> None:
    job, rows, token = half_done(shop)
    with pytest.raises(Replaced):
        shop.ledger.restoring.clear(new_token())
    assert shop.ledger.ranges.heartbeat(job, rows, token).value == "ok"


def test_a_build_that_was_killed_half_way_is_repeated(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [half_done(shop)[0] for _ in range(3)]
    forget(shop)
    whole, lock, seen = restore_job, threading.Lock(), iter(range(3))

    def die_at_the_second(*arguments: object) -> Status | None:
        with lock:
            if next(seen) == 1:
                raise KeyError("killed")
        return whole(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(rebuilding, "restore_job", die_at_the_second)
        with pytest.raises(KeyError):
            build(shop)
    assert shop.ledger.epoch() is None
    shop.ledger.client.redis.delete("ledger:rebuild")  # it lapses
    assert sum(build(shop).jobs.values()) == 3
    for job in jobs:
        shop.run(job)
        assert shop.outcome(job) == (Status.COMPLETED, expected(range(15)), {})


# --- the last minutes ----------------------------------------------------------------------------------------


def replay(shop: Workshop, intent: Intent) -> bool:
    """Make the ledger follow one intent; whether it had not."""
    return Replay(shop.store, shop.ledger, shop.broker).replay(iter([intent])) == 1


def newest(shop: Workshop, act: Act) -> Intent:
    """The newest intent of this kind."""
    return [intent for intent in IntentIndex(shop.store).since(0) if intent.act is act][-1]


def test_a_submission_that_was_forgotten_is_entered_again(shop: Workshop) -> None:
    job = shop.submit(texts(5))
    intent = newest(shop, Act.SUBMIT)
    assert not replay(shop, intent)  # nothing was forgotten
    forget_job(shop, job)
    assert replay(shop, intent)
    assert not replay(shop, intent)
    shop.run(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(5)), {})


def test_a_cancel_that_was_forgotten_is_decided_again(shop: Workshop) -> None:
    job = shop.submit(texts(5))
    shop.submissions.cancel(TENANT, job)
    intent = newest(shop, Act.CANCEL)
    assert not replay(shop, intent)
    redis = shop.ledger.client.redis
    redis.hdel(f"job:{job}", "outcome")
    redis.hset(f"job:{job}", "status", "validating")
    assert replay(shop, intent)
    assert shop.record(job).status is Status.CANCELLING


def test_a_cancel_that_never_got_to_the_store_cancels_nothing(shop: Workshop) -> None:
    job = shop.submit(texts(5))
    shop.submissions.cancel(TENANT, job)
    shop.store.delete(shop.names(job).cancel)
    forget_job(shop, job)
    restore(shop, job)
    assert not replay(shop, newest(shop, Act.CANCEL))
    assert shop.record(job).status is Status.VALIDATING


def test_a_retry_that_was_forgotten_is_begun_again(shop: Workshop) -> None:
    job, _, _ = half_done(shop)
    shop.submissions.cancel(TENANT, job)
    shop.finalize(job)
    ended = shop.ledger.client.redis.hgetall(f"job:{job}")
    shop.submissions.retry(TENANT, job)
    intent = newest(shop, Act.RETRY)
    assert not replay(shop, intent)
    forget_job(shop, job)
    shop.ledger.client.redis.hset(f"job:{job}", mapping=ended)  # type: ignore[arg-type]
    assert replay(shop, intent)
    assert shop.record(job).attempts == 2
    shop.run(job)
    assert shop.outcome(job) == (Status.COMPLETED, expected(range(15)), {})


def test_a_deletion_that_was_forgotten_is_finished(shop: Workshop) -> None:
    job = shop.submit(texts(5))
    shop.run(job)
    record = shop.ledger.client.redis.hgetall(f"job:{job}")
    shop.submissions.delete(TENANT, job)
    intent = newest(shop, Act.DELETE)
    assert not replay(shop, intent)
    shop.ledger.client.redis.hset(f"job:{job}", mapping=record)  # type: ignore[arg-type]
    put_part(shop, job, 0, 5, new_token())  # of a worker that came late
    assert replay(shop, intent)
    assert shop.ledger.jobs.find(job) is None
    assert list(shop.store.list(JobNames(TENANT, job).prefix)) == []
    assert not replay(shop, newest(shop, Act.SUBMIT))  # what was deleted is submitted no more


def test_a_key_that_was_forgotten_is_entered_again(shop: Workshop) -> None:
    ring = KeyRing(shop.store, shop.ledger)
    record, key = ring.create(TENANT, "laptop")
    intent = newest(shop, Act.KEY)
    assert not replay(shop, intent)
    shop.ledger.client.redis.delete(f"key:{record.id}")
    assert replay(shop, intent)
    assert ring.check(key) == record
    known = shop.ledger.client.redis.get(f"key:{record.id}")
    ring.revoke(TENANT, record.id)
    shop.ledger.client.redis.set(f"key:{record.id}", str(known))
    assert replay(shop, newest(shop, Act.KEY))
    with pytest.raises(Exception, match="not valid"):
        ring.check(key)
