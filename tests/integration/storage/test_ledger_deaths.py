"""Workers that die: what becomes of their ranges, and when a silent lease counts as a death."""

from __future__ import annotations

import pytest

from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.states import Status
from storage.ledger import Answer
from tests.integration.storage.ledgerbench import JOB, LEASE_MS, START, LedgerBench, new_job

GAP_MS = LEASE_MS // 2


def pieces(bench: LedgerBench) -> dict[RowRange, int]:
    """Claim all there is: the ranges, in the order in which they come, and the deaths that each is known for."""
    found = {}
    while (claim := bench.ranges.claim(JOB, new_token())) is not None:
        assert claim.origin == RowRange(0, 100)
        found[claim.rows] = claim.deaths
    return found


# --- splitting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hand", "expected"),
    [
        (RowRange(40, 50), {(0, 40): 0, (50, 100): 0, (40, 50): 1}),
        (RowRange(0, 10), {(10, 100): 0, (0, 10): 1}),
        (RowRange(90, 100), {(0, 90): 0, (90, 100): 1}),
        (RowRange(0, 100), {(0, 100): 1}),
    ],
)
def test_a_death_splits_a_range_around_what_was_in_hand(
    bench: LedgerBench, hand: RowRange, expected: dict[tuple[int, int], int]
) -> None:
    """The innocent rows go first, and only the batch in hand carries the death along."""
    bench.plan(100, 100)
    bench.die(hand)
    found = pieces(bench)
    assert found == {RowRange(*rows): deaths for rows, deaths in expected.items()}
    assert list(found) == [RowRange(*rows) for rows in expected]


def test_the_newest_hand_counts(bench: LedgerBench) -> None:
    bench.plan(100, 100)
    rows, token = bench.lease()
    bench.ranges.heartbeat(JOB, rows, token, RowRange(0, 10))
    bench.ranges.heartbeat(JOB, rows, token, RowRange(10, 20))
    bench.ranges.heartbeat(JOB, rows, token)  # names nothing: as it was
    bench.lapse()
    bench.ranges.sweep(JOB)
    assert list(pieces(bench)) == [RowRange(0, 10), RowRange(20, 100), RowRange(10, 20)]


def test_a_hand_is_forgotten_with_its_lease(bench: LedgerBench) -> None:
    bench.plan(100, 100)
    rows, token = bench.lease()
    bench.ranges.heartbeat(JOB, rows, token, RowRange(10, 20))
    bench.ranges.release(JOB, rows, token)
    bench.die()
    assert pieces(bench) == {RowRange(0, 100): 1}


def test_a_range_that_was_split_is_a_tombstone(bench: LedgerBench) -> None:
    bench.plan(100, 100, seal=False)
    rows, zombie = bench.lease()
    bench.ranges.heartbeat(JOB, rows, zombie, RowRange(40, 50))
    bench.lapse()
    bench.ranges.sweep(JOB)
    assert bench.commit(rows, zombie) is Answer.LOST
    assert bench.commit(rows, zombie, done=RowRange(0, 40)) is Answer.LOST
    assert bench.ranges.heartbeat(JOB, rows, zombie) is Answer.LOST
    assert bench.ranges.release(JOB, rows, zombie) is Answer.LOST
    planner = new_token()
    bench.ranges.plan_begin(JOB, planner)
    assert bench.ranges.add(JOB, planner, rows) is Answer.OK  # seen before: nothing happens
    assert bench.counts() == (0, 0)
    assert len(bench.claimable()) == 3


def test_without_a_hand_a_range_is_halved_at_its_third_death(bench: LedgerBench) -> None:
    bench.plan(100, 100)
    for _ in range(2):
        assert bench.die() == RowRange(0, 100)
    bench.die()
    assert pieces(bench) == {RowRange(50, 100): 0, RowRange(0, 50): 1}


def test_one_poison_row_is_left_alone_and_costs_a_bounded_number_of_deaths(
    bench: LedgerBench,
) -> None:
    """Workers die whenever they take the poison row in hand; all others come through."""
    poison, deaths = 77, 0
    bench.plan(100, 100)
    while True:
        token = new_token()
        claim = bench.ranges.claim(JOB, token)
        assert claim is not None
        rows = claim.rows
        if poison not in range(rows.start, rows.stop):
            assert bench.commit(rows, token) is Answer.OK
            continue
        if claim.deaths >= 3 and len(rows) == 1:
            break
        step = max(1, len(rows) // 8)
        first = rows.start + (poison - rows.start) // step * step
        hand = RowRange(first, min(first + step, rows.stop))
        bench.ranges.heartbeat(JOB, rows, token, hand)
        bench.lapse()
        bench.ranges.sweep(JOB)
        deaths += 1
    print(
        f"one poison row among 100 cost {deaths} deaths, {deaths * LEASE_MS / 1000:g} leases of 1 s"
    )
    assert deaths <= 6
    assert bench.counts() == (99, 0)
    assert bench.commit(rows, token, errors=1) is Answer.FINALIZE
    assert bench.record().outcome is None


def test_whatever_can_be_done_safely_is_done_before_what_killed_workers(
    bench: LedgerBench,
) -> None:
    bench.plan(30, 10)
    bench.die()
    bench.now += LEASE_MS
    assert bench.claimable() == [RowRange(10, 20), RowRange(20, 30), RowRange(0, 10)]


def test_what_is_left_of_a_range_that_killed_workers_stays_under_suspicion(
    bench: LedgerBench,
) -> None:
    """Otherwise a worker that makes room for others would leave the rest to be taken in hand all at once, again."""
    bench.plan(10, 10)
    for _ in range(2):
        bench.die()
    rows, token = bench.lease()
    bench.commit(rows, token, done=RowRange(0, 4))
    assert bench.claim().deaths == 1


def test_what_is_left_of_a_range_that_killed_nobody_is_innocent(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    rows, token = bench.lease()
    bench.commit(rows, token, done=RowRange(0, 4))
    assert bench.claim().deaths == 0


def test_leases_of_a_job_that_is_over_split_nothing(bench: LedgerBench) -> None:
    bench.plan(100, 100)
    rows, token = bench.lease()
    bench.ranges.heartbeat(JOB, rows, token, RowRange(10, 20))
    bench.jobs.cancel(JOB)
    bench.lapse()
    assert bench.ranges.sweep(JOB).expired == 1
    assert bench.client.redis.zcard(f"job:{JOB}:pending") == 0


# --- when silence is a death ----------------------------------------------------------------------------


def silent(bench: LedgerBench) -> None:
    """A leased range whose worker was not heard of for longer than its lease."""
    bench.plan(10, 10)
    bench.lease()
    bench.now += 5 * LEASE_MS


def test_nothing_expires_until_a_new_server_was_seen_for_one_lease_time(bench: LedgerBench) -> None:
    silent(bench)
    assert bench.see("restarted", gap_ms=GAP_MS) == bench.now
    for _ in range(3):
        assert bench.ranges.sweep(JOB).expired == 0
        bench.now += LEASE_MS // 3
        bench.see("restarted", gap_ms=GAP_MS)
    assert bench.ranges.sweep(JOB).expired == 0
    bench.now += 1
    assert bench.ranges.sweep(JOB).expired == 1


def test_nothing_expires_for_one_lease_time_after_a_gap(bench: LedgerBench) -> None:
    """As after an outage of Redis that kept its process: no worker could say that it lives."""
    bench.see("server", gap_ms=10**9)
    silent(bench)
    assert bench.see("server", gap_ms=GAP_MS) == bench.now
    assert bench.ranges.sweep(JOB).expired == 0
    bench.now += LEASE_MS // 2
    bench.see("server", gap_ms=GAP_MS)
    bench.now += LEASE_MS // 2
    bench.see("server", gap_ms=GAP_MS)
    assert bench.ranges.sweep(JOB).expired == 1


def test_a_worker_that_comes_back_in_that_time_keeps_its_lease(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    rows, token = bench.lease()
    bench.now += 5 * LEASE_MS
    bench.see("restarted", gap_ms=GAP_MS)
    bench.ranges.sweep(JOB)
    assert bench.ranges.heartbeat(JOB, rows, token) is Answer.OK
    bench.now += LEASE_MS - 1
    bench.see("restarted", gap_ms=10**9)
    assert bench.ranges.sweep(JOB).expired == 0
    assert bench.commit(rows, token) is Answer.FINALIZE


def test_a_server_that_is_seen_without_a_gap_stays_the_same(bench: LedgerBench) -> None:
    since = bench.see("server", gap_ms=10**9)
    for _ in range(10):
        bench.now += GAP_MS
        assert bench.see("server", gap_ms=GAP_MS) == since


def test_before_anybody_watches_nothing_expires(bench: LedgerBench) -> None:
    bench.client.redis.delete("ledger:watch")
    silent(bench)
    assert bench.ranges.sweep(JOB).expired == 0


def test_the_watch_goes_by_the_servers_own_run_id(bench: LedgerBench) -> None:
    bench.ranges.watch(1.0)
    info = bench.client.redis.info("server")
    assert bench.client.redis.hget("ledger:watch", "run_id") == info["run_id"]
    assert bench.ranges.watch(1.0) == START


# --- making ready ------------------------------------------------------------------------------------------


def test_openings_are_counted_until_a_claim_says_that_one_succeeded(bench: LedgerBench) -> None:
    bench.plan(10, 1)
    assert [bench.ranges.open(JOB) for _ in range(3)] == [0, 1, 2]
    bench.lease()
    assert bench.ranges.open(JOB) == 0
    assert bench.ranges.open("job_unknown") == 0
    assert bench.jobs.find("job_unknown") is None


def test_an_opening_that_was_put_off_killed_nobody(bench: LedgerBench) -> None:
    bench.plan(10, 1)
    for _ in range(5):
        assert bench.ranges.open(JOB) == 0
        bench.ranges.defer(JOB, "the hub is away")


def test_deaths_of_one_job_are_not_held_against_another(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.plan(10, 10, job=new_job("job_b"))
    bench.die()
    assert bench.claim("job_b").deaths == 0
    assert bench.status() is Status.IN_PROGRESS
