"""Which job is served next, and how many workers are invited."""

from __future__ import annotations

import time
from collections import Counter

import orjson
import pytest

from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.states import Priority
from storage.ledger import Answer
from storage.ledger.ranges import (
    FIRST_PAUSE_MS,
    LONGEST_PAUSE_MS,
    RESIDENCY_PATIENCE_MS,
    STARVED_MS,
    YIELD_MS,
)
from storage.ledger.workers import LONGEST_SLOT_MS, PRESENCE_MS, SLOT_MS
from tests.integration.storage.ledgerbench import LEASE_MS, LedgerBench, new_job


def serve(bench: LedgerBench, *held: str) -> str | None:
    """Let a worker that holds these models claim a range; the job it was sent to."""
    job_id = bench.ranges.choose(held)
    if job_id is not None:
        assert bench.ranges.claim(job_id, new_token()) is not None
    return job_id


def test_nothing_to_do(bench: LedgerBench) -> None:
    assert serve(bench) is None
    bench.jobs.enter(new_job())
    assert serve(bench) is None


def test_higher_priorities_are_served_first(bench: LedgerBench) -> None:
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        bench.plan(20, 10, job=new_job(f"job_{priority}", priority=priority))
    order = [serve(bench) for _ in range(7)]
    assert order == ["job_high"] * 2 + ["job_normal"] * 2 + ["job_low"] * 2 + [None]


def test_a_small_job_is_served_soon_behind_a_big_one(bench: LedgerBench) -> None:
    bench.plan(200, 1, job=new_job("job_big"))
    for _ in range(50):
        assert serve(bench) == "job_big"
    bench.plan(2, 1, job=new_job("job_small"))
    assert Counter(serve(bench) for _ in range(4)) == {"job_big": 2, "job_small": 2}
    assert serve(bench) == "job_big"


def test_a_new_job_does_not_make_up_for_the_time_before_it_came(bench: LedgerBench) -> None:
    bench.plan(100, 1, job=new_job("job_old"))
    for _ in range(50):
        serve(bench)
    bench.plan(100, 1, job=new_job("job_new"))
    assert Counter(serve(bench) for _ in range(20)) == {"job_old": 10, "job_new": 10}


def test_a_range_given_back_makes_its_job_runnable_again(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    rows, token = bench.lease()
    assert bench.ranges.choose([]) is None
    bench.ranges.release("job_a", rows, token)
    assert serve(bench) == "job_a"
    bench.lapse()
    bench.ranges.sweep("job_a")
    assert serve(bench) == "job_a"


def test_the_sweep_makes_runnable_what_was_forgotten(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.client.redis.delete("runnable:normal", "runnable:normal:default")
    assert bench.ranges.choose([]) is None
    bench.ranges.sweep("job_a")
    assert serve(bench) == "job_a"


def test_a_worker_goes_on_with_a_model_that_it_holds(bench: LedgerBench) -> None:
    bench.plan(100, 1, job=new_job("job_a", model_key="m1"))
    bench.plan(100, 1, job=new_job("job_b", model_key="m2"))
    assert [serve(bench, "m2") for _ in range(5)] == ["job_b"] * 5
    assert [serve(bench, "m1") for _ in range(5)] == ["job_a"] * 5
    assert serve(bench, "m3") in ("job_a", "job_b")


def test_priority_goes_before_a_model_that_is_held(bench: LedgerBench) -> None:
    bench.plan(10, 1, job=new_job("job_low", model_key="m1", priority=Priority.LOW))
    bench.plan(10, 1, job=new_job("job_high", model_key="m2", priority=Priority.HIGH))
    assert serve(bench, "m1") == "job_high"


def test_a_job_that_waited_too_long_goes_before_a_model_that_is_held(bench: LedgerBench) -> None:
    bench.plan(100, 1, job=new_job("job_a", model_key="m1"))
    bench.plan(100, 1, job=new_job("job_b", model_key="m2"))
    assert serve(bench, "m2") == "job_b"  # now it is job_a's turn
    bench.now += RESIDENCY_PATIENCE_MS
    assert serve(bench, "m2") == "job_b"
    bench.now += 1
    assert serve(bench, "m2") == "job_a"
    assert serve(bench, "m2") == "job_b"  # job_a was served: patience begins anew


def test_a_job_that_cannot_be_worked_on_lets_others_go_first(bench: LedgerBench) -> None:
    bench.plan(10, 1, job=new_job("job_b"))
    bench.plan(10, 1, job=new_job("job_a"))
    assert bench.ranges.choose([]) == "job_a"  # whoever comes is served next
    assert bench.ranges.defer("job_a", "the hub is away") == FIRST_PAUSE_MS / 1000
    assert bench.record("job_a").waiting == "the hub is away"
    assert bench.ranges.choose([]) == "job_b"
    bench.now += FIRST_PAUSE_MS // 2
    bench.ranges.defer("job_b", "so it is")
    assert bench.ranges.choose([]) is None
    bench.now += FIRST_PAUSE_MS // 2
    assert bench.ranges.choose([]) == "job_a"
    assert bench.ranges.defer("job_unknown", "") == 0
    assert bench.jobs.find("job_unknown") is None


def test_the_pause_doubles_up_to_a_limit_until_a_range_is_claimed(bench: LedgerBench) -> None:
    bench.plan(10, 1)
    pauses = [bench.ranges.defer("job_a", "") * 1000 for _ in range(9)]
    assert pauses[:4] == [FIRST_PAUSE_MS * 2**n for n in range(4)]
    assert pauses[-1] == LONGEST_PAUSE_MS
    bench.now += LONGEST_PAUSE_MS - 1
    assert bench.ranges.choose([]) is None
    bench.now += 1
    assert serve(bench) == "job_a"
    assert bench.record("job_a").waiting is None
    assert bench.ranges.defer("job_a", "") * 1000 == FIRST_PAUSE_MS


# --- fairness ------------------------------------------------------------------------------------


def test_a_tenant_with_one_job_gets_as_much_as_one_with_a_hundred(bench: LedgerBench) -> None:
    for number in range(100):
        bench.plan(10, 1, job=new_job(f"job_many_{number}", tenant="many"))
    bench.plan(100, 1, job=new_job("job_single", tenant="single"))
    served = Counter("many" in str(serve(bench)) for _ in range(100))
    assert abs(served[True] - served[False]) <= 2


def test_jobs_of_one_tenant_share_fairly(bench: LedgerBench) -> None:
    for number in range(5):
        bench.plan(40, 1, job=new_job(f"job_{number}"))
    served = Counter(serve(bench) for _ in range(100))
    assert set(served.values()) == {20}


def test_having_been_away_earns_nothing(bench: LedgerBench) -> None:
    """A tenant that asked for nothing for a while has no claim on the time before."""
    bench.plan(200, 1, job=new_job("job_steady", tenant="steady"))
    bench.plan(1, 1, job=new_job("job_early", tenant="other"))
    for _ in range(50):
        serve(bench)
    bench.plan(50, 1, job=new_job("job_late", tenant="other"))
    served = Counter(serve(bench) for _ in range(20))
    assert served == {"job_steady": 10, "job_late": 10}


def test_a_lower_priority_starves_for_a_minute_at_most(bench: LedgerBench) -> None:
    bench.plan(100, 1, job=new_job("job_high", priority=Priority.HIGH))
    bench.plan(100, 1, job=new_job("job_low", priority=Priority.LOW))
    bench.now += STARVED_MS
    assert serve(bench) == "job_high"
    bench.now += 1
    assert [serve(bench) for _ in range(3)] == ["job_low", "job_high", "job_high"]
    bench.now += STARVED_MS + 1
    assert [serve(bench) for _ in range(2)] == ["job_low", "job_high"]


# --- making room ---------------------------------------------------------------------------------


def beat(bench: LedgerBench, lease: tuple[RowRange, str], job_id: str) -> Answer:
    return bench.ranges.heartbeat(job_id, *lease)


def test_one_worker_makes_room_for_a_job_that_nobody_serves(bench: LedgerBench) -> None:
    bench.plan(10, 1, job=new_job("job_big"))
    first, second = bench.lease("job_big"), bench.lease("job_big")
    bench.plan(10, 1, job=new_job("job_small"))
    bench.now += YIELD_MS // 2
    assert beat(bench, first, "job_big") is Answer.OK
    assert beat(bench, second, "job_big") is Answer.OK
    bench.now += YIELD_MS // 2 + 1
    assert beat(bench, first, "job_big") is Answer.YIELD
    assert beat(bench, second, "job_big") is Answer.OK  # one is enough
    assert bench.ranges.sweep("job_big").expired == 0  # who makes room keeps the lease meanwhile
    bench.lease("job_small")
    bench.now += LEASE_MS // 2
    assert beat(bench, second, "job_big") is Answer.OK


@pytest.mark.parametrize(
    ("waiting", "answer"),
    [(Priority.HIGH, Answer.YIELD), (Priority.NORMAL, Answer.YIELD), (Priority.LOW, Answer.OK)],
)
def test_nobody_makes_room_for_less_urgent_work(
    bench: LedgerBench, waiting: Priority, answer: Answer
) -> None:
    bench.plan(10, 1, job=new_job("job_served"))
    lease = bench.lease("job_served")
    bench.plan(10, 1, job=new_job("job_waiting", priority=waiting))
    bench.now += YIELD_MS + 1
    assert beat(bench, lease, "job_served") is answer


def test_nobody_makes_room_for_a_job_that_is_deferred(bench: LedgerBench) -> None:
    bench.plan(10, 1, job=new_job("job_served"))
    lease = bench.lease("job_served")
    bench.plan(10, 1, job=new_job("job_waiting"))
    for _ in range(3):
        bench.ranges.defer("job_waiting", "the hub is away")
    bench.now += YIELD_MS + 1
    assert beat(bench, lease, "job_served") is Answer.OK


# --- invitations ---------------------------------------------------------------------------------


def invite_all(bench: LedgerBench, idle: int, worker_class: str = "cpu") -> list[str]:
    """Invite so many idle workers as long as an invitation is wanted; the slots."""
    slots = []
    while (invitation := bench.ledger.workers.invite(worker_class, idle)) is not None:
        slots.append(invitation[0])
    return slots


@pytest.mark.parametrize(("claimable", "workers"), [(3, 5), (5, 3), (0, 4), (4, 4)])
def test_invitations_are_as_many_as_ranges_and_workers_allow(
    bench: LedgerBench, claimable: int, workers: int
) -> None:
    bench.plan(claimable + 2, 1)
    bench.lease()  # a leased range wants no worker
    bench.lease()
    assert len(invite_all(bench, workers)) == min(claimable, workers)


def test_invitations_count_the_ranges_of_all_jobs(bench: LedgerBench) -> None:
    for priority in Priority:
        bench.plan(2, 1, job=new_job(f"job_{priority}", priority=priority))
    assert len(invite_all(bench, 100)) == 6


def test_a_decided_job_invites_nobody(bench: LedgerBench) -> None:
    bench.plan(5, 1)
    bench.jobs.cancel("job_a")
    assert invite_all(bench, 5) == []


def test_an_invitation_is_accepted_once(bench: LedgerBench) -> None:
    bench.plan(5, 1)
    (slot,) = invite_all(bench, 1)
    workers = bench.ledger.workers
    assert not workers.accept("cuda", slot)
    assert workers.accept("cpu", slot)
    assert not workers.accept("cpu", slot)
    assert not workers.accept("cpu", new_token())
    assert len(invite_all(bench, 1)) == 1  # the slot is free again


def test_an_invitation_that_nobody_took_lapses_and_the_next_has_more_time(
    bench: LedgerBench,
) -> None:
    bench.plan(5, 1)
    lives = [min(SLOT_MS * 2**n, LONGEST_SLOT_MS) for n in range(7)]
    (slot,) = invite_all(bench, 1)
    for life in lives:
        bench.now += life - 1
        assert invite_all(bench, 1) == []
        bench.now += 1
        (after,) = invite_all(bench, 1)
        assert not bench.ledger.workers.accept("cpu", slot)
        slot = after
    assert bench.ledger.workers.accept("cpu", slot)
    # One that came is proof that invitations arrive.
    invite_all(bench, 1)
    bench.now += SLOT_MS
    assert len(invite_all(bench, 1)) == 1


def test_each_class_of_workers_has_invitations_of_its_own(bench: LedgerBench) -> None:
    bench.plan(3, 1)
    assert len(invite_all(bench, 2, "cpu")) == 2
    assert len(invite_all(bench, 5, "cuda")) == 3


def test_an_invitation_goes_to_the_queue_of_what_is_most_urgent(bench: LedgerBench) -> None:
    bench.plan(2, 1, job=new_job("job_low", priority=Priority.LOW))
    first = bench.ledger.workers.invite("cpu", 9)
    assert first is not None
    assert first[1] is Priority.LOW
    bench.plan(2, 1, job=new_job("job_high", priority=Priority.HIGH))
    second = bench.ledger.workers.invite("cpu", 9)
    assert second is not None
    assert second[1] is Priority.HIGH


def test_a_deferred_job_invites_nobody_until_its_pause_is_over(bench: LedgerBench) -> None:
    bench.plan(5, 1)
    bench.ranges.defer("job_a", "the hub is away")
    assert invite_all(bench, 5) == []
    bench.now += FIRST_PAUSE_MS
    assert len(invite_all(bench, 5)) == 5


# --- workers -------------------------------------------------------------------------------------


def test_live_workers_and_their_leaving(bench: LedgerBench) -> None:
    workers = bench.ledger.workers
    assert (workers.live(), workers.count()) == ([], 1)
    workers.announce("b", {"id": "b", "role": "model", "device_type": "cpu"})
    workers.announce("a", {"id": "a", "role": "model", "device_type": "cuda"})
    workers.announce("c", {"id": "c", "role": "control"})
    assert [worker["id"] for worker in workers.live()] == ["a", "b", "c"]
    assert workers.count() == 2
    workers.leave("a")
    assert [worker["id"] for worker in workers.live()] == ["b", "c"]


def test_a_worker_not_heard_of_is_gone(bench: LedgerBench) -> None:
    workers = bench.ledger.workers
    workers.announce("a", {"id": "a", "role": "model"})
    workers.announce("b", {"id": "b", "role": "model"})
    seen_at = next(worker["seen_at"] for worker in workers.live() if worker["id"] == "a")
    silent = {"id": "a", "role": "model", "seen_at": seen_at - PRESENCE_MS - 60_000}
    bench.client.redis.hset("workers", "a", orjson.dumps(silent))
    assert [worker["id"] for worker in workers.live()] == ["b"]
    workers.announce("a", {"id": "a", "role": "model"})
    assert [worker["id"] for worker in workers.live()] == ["a", "b"]


def test_a_worker_that_was_replaced_is_gone(bench: LedgerBench) -> None:
    """Each parent has one at a time; others on its host, and control workers, have nothing to do with it."""
    workers = bench.ledger.workers
    for name, parent in (("dead", 1), ("other", 2)):
        workers.announce(name, {"id": name, "role": "model", "host": "a", "parent": parent})
    for name in ("control-1", "control-2"):
        workers.announce(name, {"id": name, "role": "control", "host": "a"})
    time.sleep(0.005)
    workers.announce("new", {"id": "new", "role": "model", "host": "a", "parent": 1})
    workers.announce("far", {"id": "far", "role": "model", "host": "b", "parent": 2})
    found = [worker["id"] for worker in workers.live()]
    assert found == ["control-1", "control-2", "far", "new", "other"]
    assert workers.count() == 3


def test_speeds_are_averaged_and_the_slowest_live_device_counts(bench: LedgerBench) -> None:
    workers = bench.ledger.workers
    workers.record_speed("classify", "m", "cuda", 1000.0)
    workers.record_speed("classify", "m", "cpu", 10.0)
    workers.record_speed("classify", "m", "cpu", 20.0)
    assert workers.speed("classify", "m", "cpu") == pytest.approx(13.0)
    assert workers.speed("classify", "other", "cpu") is None
    assert workers.slowest_speed("classify", "m") is None  # nobody lives
    workers.announce("a", {"device_type": "cuda"})
    assert workers.slowest_speed("classify", "m") == 1000.0
    workers.announce("b", {"device_type": "cpu"})
    assert workers.slowest_speed("classify", "m") == pytest.approx(13.0)


def test_serving_a_job_to_its_end_takes_it_from_the_queue(bench: LedgerBench) -> None:
    bench.plan(3, 1)
    answers = [bench.commit(*bench.lease()) for _ in range(3)]
    assert answers == [Answer.OK, Answer.OK, Answer.FINALIZE]
    assert bench.ranges.choose([]) is None


def test_a_stream_of_newcomers_does_not_keep_a_job_waiting_for_ever(bench: LedgerBench) -> None:
    """More comes in than can be done, and yet the old job gets a share like any other that waits."""
    bench.plan(1000, 1, job=new_job("job_big"))
    served = []
    for number in range(60):
        bench.plan(1, 1, job=new_job(f"job_small_{number:02d}"))
        chosen = bench.ranges.choose([])
        assert chosen is not None
        bench.lease(chosen)
        served.append(chosen)
    assert served.count("job_big") >= 5
    assert "job_big" in served[-20:]
    newcomers = [name for name in served if name != "job_big"]
    assert newcomers == sorted(newcomers)  # first come, first served
    assert "job_small_00" in served[:2]
