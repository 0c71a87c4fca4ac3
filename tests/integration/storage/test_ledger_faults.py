"""What callers see while the ledger is not whole, away or full: always ``Unavailable``, and nothing changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import storage.ledger
from jobs.errors import Unavailable
from jobs.ranges import RowRange
from jobs.settings import Settings
from storage.ledger import Answer, DueDelivery, JobFilter, Replaced
from storage.ledger.schedules import DueSchedule
from storage.ledger.scripts import LedgerClient
from tests.integration.storage.ledgerbench import JOB, TENANT, LedgerBench, new_job

ROWS, TOKEN = RowRange(0, 10), "0" * 32
DELIVERY = f"{JOB}:1:completed"


def clear(bench: LedgerBench) -> None:
    """Drop what a ledger of before left, as one who does not hold the lock: nothing is dropped."""
    bench.client.redis.set("job:left", "")
    try:
        bench.ledger.restoring.clear(TOKEN)
    finally:
        assert bench.client.redis.delete("job:left") == 1


#: One call of each script.
CALLS: dict[str, Callable[[LedgerBench], object]] = {
    "add": lambda bench: bench.ranges.add(JOB, TOKEN, ROWS),
    "admit": lambda bench: bench.ledger.admission.look("key_a", "read_rate", JOB),
    "arrive": lambda bench: bench.ledger.accounts.arrive(TENANT, TOKEN, 1),
    "charge": lambda bench: bench.ledger.admission.charge(TENANT, "read_rate", 1.0),
    "key_used": lambda bench: bench.ledger.admission.key_used("key_a"),
    "measured": lambda bench: bench.ledger.accounts.measured(TENANT, 1),
    "requests": lambda bench: bench.ledger.admission.count({TENANT: 1}),
    "reserve": lambda bench: bench.ledger.accounts.reserve(JOB, TENANT, 1),
    "stored": lambda bench: bench.ledger.accounts.stored(TENANT, 1),
    "census": lambda bench: bench.jobs.census(),
    "choose": lambda bench: bench.ranges.choose([]),
    "claim": lambda bench: bench.ranges.claim(JOB, TOKEN),
    "commit": lambda bench: bench.commit(ROWS, TOKEN),
    "final_begin": lambda bench: bench.ranges.final_begin(JOB, TOKEN),
    "finish": lambda bench: bench.client.call("finish", JOB, 1, "completed", 1, "", "completed", 1),
    "heartbeat": lambda bench: bench.ranges.heartbeat(JOB, ROWS, TOKEN),
    "accept": lambda bench: bench.ledger.workers.accept("cpu", TOKEN),
    "defer": lambda bench: bench.ranges.defer(JOB, ""),
    "forget": lambda bench: bench.jobs.forget(JOB),
    "invite": lambda bench: bench.ledger.workers.invite("cpu", 1),
    "open": lambda bench: bench.ranges.open(JOB),
    "pause": lambda bench: bench.ranges.pause(JOB, "planner", TOKEN, 1, ""),
    "restore_begin": lambda bench: bench.ledger.restoring.begin(JOB, TOKEN, TENANT, 1, ()),
    "restore_end": lambda bench: bench.ledger.restoring.end(
        JOB, TOKEN, rows=None, warnings="[]", cancelled=False
    ),
    "restore_range": lambda bench: bench.ledger.restoring.enter(JOB, TOKEN, ROWS, []),
    "retry": lambda bench: bench.jobs.retry(JOB, 2, 0, None),
    "watch": lambda bench: bench.ranges.watch(1.0),
    "rebuild_clear": clear,
    "rebuild_end": lambda bench: bench.ledger.restoring.complete(TOKEN, "epoch"),
    "outcome": lambda bench: bench.jobs.cancel(JOB),
    "plan_begin": lambda bench: bench.ranges.plan_begin(JOB, TOKEN),
    "release": lambda bench: bench.ranges.release(JOB, ROWS, TOKEN),
    "schedule_claim": lambda bench: bench.ledger.schedules.claim(TOKEN, lease_ms=1),
    "schedule_enter": lambda bench: bench.ledger.schedules.enter(TENANT, "sched_a", 1),
    "schedule_forget": lambda bench: bench.ledger.schedules.forget(TENANT, "sched_a"),
    "schedule_settle": lambda bench: bench.ledger.schedules.settle(
        DueSchedule(tenant=TENANT, id="sched_a", token=TOKEN), None, late_since=None
    ),
    "seal": lambda bench: bench.ranges.seal(JOB, TOKEN, 10, "[]"),
    "set_model": lambda bench: bench.jobs.set_model(JOB, {"ref": "pkg:x"}),
    "submit": lambda bench: bench.jobs.enter(new_job()),
    "sweep": lambda bench: bench.ranges.sweep(JOB),
    "train_forgive": lambda bench: bench.ledger.training.forgive(JOB, ROWS, TOKEN, 10),
    "train_show": lambda bench: bench.ledger.training.show(JOB, ROWS, TOKEN, {"step": 1}),
    "webhook_claim": lambda bench: bench.ledger.webhooks.claim(TOKEN, lease_ms=1, most=1),
    "webhook_enter": lambda bench: bench.ledger.webhooks.enter(TENANT, DELIVERY),
    "webhook_settle": lambda bench: bench.ledger.webhooks.settle(
        DueDelivery(tenant=TENANT, id=DELIVERY, token=TOKEN), None
    ),
}


def test_every_script_has_a_call_here() -> None:
    folder = Path(storage.ledger.__file__).parent / "lua"
    assert {path.stem for path in folder.glob("[!_]*.lua")} == set(CALLS)


@pytest.mark.parametrize("script", sorted(CALLS))
def test_every_script_refuses_a_ledger_without_an_epoch(bench: LedgerBench, script: str) -> None:
    bench.client.redis.flushall()
    with pytest.raises(Unavailable, match=r"being built|is building"):
        CALLS[script](bench)
    assert bench.client.redis.keys("*") == []


@pytest.mark.parametrize(
    "read",
    [
        lambda bench: bench.jobs.get(TENANT, JOB),
        lambda bench: bench.jobs.find(JOB),
        lambda bench: bench.jobs.page(TENANT, JobFilter(), after=None, limit=1),
        lambda bench: bench.ledger.require_epoch(),
    ],
)
def test_reading_a_ledger_without_an_epoch_is_never_not_found(
    bench: LedgerBench, read: Callable[[LedgerBench], object]
) -> None:
    bench.client.redis.delete("ledger:epoch")
    with pytest.raises(Unavailable):
        read(bench)


def test_only_who_holds_the_lock_makes_the_ledger_whole(bench: LedgerBench) -> None:
    before = bench.ledger.epoch()
    with pytest.raises(Replaced):
        bench.ledger.restoring.complete(TOKEN, "another")
    assert bench.ledger.epoch() == before


def test_scripts_survive_a_flush_of_the_script_cache(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.client.redis.script_flush()
    assert bench.commit(*bench.lease()) is Answer.FINALIZE


def test_a_kept_connection_that_broke_is_replaced(bench: LedgerBench) -> None:
    look = CALLS["admit"]
    look(bench)
    kept = bench.client._kept[:]
    assert len(kept) == 1
    for one in bench.client.redis.client_list():
        if one["id"] != str(bench.client.redis.client_id()):
            bench.client.redis.client_kill_filter(_id=one["id"])
    look(bench)
    assert kept[0] not in bench.client._kept
    look(bench)
    assert len(bench.client._kept) == 1


def test_a_fork_leaves_its_parents_kept_connections_alone(bench: LedgerBench) -> None:
    CALLS["admit"](bench)
    kept = bench.client._kept[:]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            CALLS["admit"](bench)
            status = int(any(one in kept for one in bench.client._kept))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    CALLS["admit"](bench)
    assert bench.client._kept == kept


def test_an_answer_that_is_late_is_nobody_elses(bench: LedgerBench) -> None:
    """A call that gives up in between leaves its answer on the connection, which must not be used again."""
    CALLS["admit"](bench)
    connection = bench.client._kept[0]
    reading = connection.read_response

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    connection.read_response = stopped
    with pytest.raises(KeyboardInterrupt):
        CALLS["admit"](bench)
    connection.read_response = reading
    assert connection not in bench.client._kept
    found, _ = bench.ledger.admission.look("key_b", "read_rate")
    assert found.key == ""


@pytest.fixture
def nowhere() -> Iterator[LedgerBench]:
    """A ledger at a port where nobody listens."""
    settings = Settings.from_environment({"TEXTMILL_REDIS_URL": "redis://127.0.0.1:1/0"})
    client = LedgerClient.connect(settings)
    yield LedgerBench(client)
    client.close()


@pytest.mark.parametrize(
    "use",
    [
        lambda bench: bench.ranges.heartbeat(JOB, ROWS, TOKEN),
        lambda bench: bench.jobs.get(TENANT, JOB),
        lambda bench: list(bench.ranges.parts(JOB)),
        lambda bench: bench.ledger.probe(),
        lambda bench: bench.ledger.workers.live(),
    ],
)
def test_a_server_that_is_down_is_unavailable_at_once(
    nowhere: LedgerBench, use: Callable[[LedgerBench], object]
) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable):
        use(nowhere)
    assert time.monotonic() - began < 5


@pytest.fixture
def full(bench: LedgerBench) -> Iterator[LedgerBench]:
    """A ledger with one leased range, in a Redis that is out of memory."""
    bench.plan(20, 10)
    assert bench.claim(token=TOKEN).rows == ROWS
    limit = str(bench.client.redis.config_get("maxmemory")["maxmemory"])
    bench.client.redis.config_set("maxmemory", "1mb")
    try:
        yield bench
    finally:
        bench.client.redis.config_set("maxmemory", limit)


def test_work_goes_on_where_redis_is_full(full: LedgerBench) -> None:
    assert full.ranges.heartbeat(JOB, ROWS, TOKEN) is Answer.OK
    assert full.commit(ROWS, TOKEN, done=ROWS.cut(5)[0]) is Answer.OK
    assert full.ranges.sweep(JOB).expired == 0
    assert full.jobs.cancel(JOB)[0]
    assert full.ranges.final_begin(JOB, TOKEN)[0] is Answer.OK


def test_a_release_goes_through_where_redis_is_full(full: LedgerBench) -> None:
    assert full.ranges.release(JOB, ROWS, TOKEN) is Answer.OK


@pytest.mark.parametrize("script", ["add", "claim", "plan_begin", "submit"])
def test_nothing_new_is_taken_in_where_redis_is_full(full: LedgerBench, script: str) -> None:
    with pytest.raises(Unavailable, match="OOM"):
        CALLS[script](full)


def test_a_full_redis_fails_the_probe(full: LedgerBench) -> None:
    with pytest.raises(Unavailable):
        full.ledger.probe()


def test_a_healthy_redis_passes_the_probe(bench: LedgerBench) -> None:
    bench.ledger.probe()
