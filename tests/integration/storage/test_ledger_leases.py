"""Leases: fencing tokens, repeated calls, expiry, partial commits and what counts as an attempt."""

from __future__ import annotations

import time

import pytest

from jobs.ids import new_token
from jobs.ranges import RowRange
from jobs.states import Status
from storage.ledger import Answer, CommittedPart, Ledger
from tests.integration.storage.ledgerbench import JOB, LEASE_MS, LedgerBench, new_job


def test_the_same_token_gets_the_same_lease(bench: LedgerBench) -> None:
    bench.plan(20, 10)
    token = new_token()
    first = bench.claim(token=token)
    assert first.rows == RowRange(0, 10)
    assert bench.claim(token=token) == first
    assert bench.attempts(RowRange(0, 10)) == 1
    assert bench.claim().rows == RowRange(10, 20)


def test_a_claim_foretells_the_next_one(bench: LedgerBench) -> None:
    bench.plan(60, 10)
    first, token = bench.claim(), new_token()
    assert first.following == RowRange(10, 20), "a lone worker's next"
    second = bench.claim(token=token)
    assert (second.rows, second.following) == (RowRange(10, 20), RowRange(20, 30))
    bench.commit(second.rows, token, done=RowRange(10, 14))
    # Two others hold ranges now; the one left over from the cut lies in a shard that is planned as a whole.
    third, fourth = bench.claim(), bench.claim()
    assert (third.rows, third.following) == (RowRange(14, 20), RowRange(20, 30))
    assert (fourth.rows, fourth.following) == (RowRange(20, 30), RowRange(40, 50))
    assert bench.claim().following == RowRange(50, 60), "the last one, when there are fewer"
    assert bench.claim().following == RowRange(50, 60)
    assert bench.claim().following is None


def test_a_repeated_claim_renews_the_lease(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    token = new_token()
    bench.ranges.claim(JOB, token)
    bench.now += LEASE_MS - 1
    bench.ranges.claim(JOB, token)
    bench.now += LEASE_MS - 1
    assert bench.ranges.sweep(JOB).expired == 0


def test_a_commit_repeated_with_its_token_says_yes_again_and_counts_once(
    bench: LedgerBench,
) -> None:
    bench.plan(20, 10)
    rows, token = bench.lease()
    assert bench.commit(rows, token, errors=3) is Answer.OK
    assert bench.commit(rows, token, errors=3) is Answer.OK
    assert bench.counts() == (7, 3)
    record = bench.jobs.find(JOB)
    assert record is not None
    assert (record.input_tokens, record.output_tokens, record.device_ms) == (10, 20, 5)


def test_the_last_commit_repeated_says_finalize_again(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    rows, token = bench.lease()
    assert bench.commit(rows, token) is Answer.FINALIZE
    assert bench.commit(rows, token) is Answer.FINALIZE
    assert bench.counts() == (10, 0)


def test_a_commit_needs_the_token_of_the_lease(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    rows, token = bench.lease()
    assert bench.commit(rows, new_token()) is Answer.LOST
    assert bench.counts() == (0, 0)
    assert list(bench.ranges.parts(JOB)) == []
    assert bench.commit(rows, token) is Answer.FINALIZE
    assert bench.commit(rows, new_token()) is Answer.LOST


@pytest.mark.parametrize("partial", [False, True])
def test_a_zombie_can_do_nothing_to_a_lease_taken_over(bench: LedgerBench, partial: bool) -> None:
    bench.plan(10, 10)
    rows, zombie = bench.lease()
    bench.lapse()
    assert bench.ranges.sweep(JOB).expired == 1
    again, heir = bench.lease()
    assert again == rows
    done = rows.cut(4)[0] if partial else rows
    assert bench.commit(rows, zombie, done=done) is Answer.LOST
    assert bench.ranges.heartbeat(JOB, rows, zombie) is Answer.LOST
    assert bench.ranges.release(JOB, rows, zombie) is Answer.LOST
    assert bench.ranges.heartbeat(JOB, rows, heir) is Answer.OK
    assert bench.commit(rows, heir) is Answer.FINALIZE
    assert bench.commit(rows, zombie) is Answer.LOST
    assert list(bench.ranges.parts(JOB)) == [CommittedPart(rows, heir)]


def test_a_lease_taken_back_is_lost_also_before_anybody_claims_it(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    rows, zombie = bench.lease()
    bench.lapse()
    bench.ranges.sweep(JOB)
    assert bench.ranges.heartbeat(JOB, rows, zombie) is Answer.LOST
    assert bench.commit(rows, zombie) is Answer.LOST


def test_a_token_whose_lease_ended_gets_a_new_one(bench: LedgerBench) -> None:
    bench.plan(20, 10)
    token = new_token()
    first = bench.claim(token=token).rows
    assert bench.commit(first, token) is Answer.OK
    assert bench.claim(token=token).rows == RowRange(10, 20)


def test_a_heartbeat_keeps_a_lease(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    rows, token = bench.lease()
    for _ in range(3):
        bench.now += LEASE_MS - 1
        assert bench.ranges.heartbeat(JOB, rows, token) is Answer.OK
        assert bench.ranges.sweep(JOB).expired == 0
    bench.lapse()
    assert bench.ranges.sweep(JOB).expired == 1


def test_without_a_clock_of_its_own_a_lease_goes_by_redis(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    real = Ledger(bench.client, LEASE_MS)
    before = time.time() * 1000
    claim = real.ranges.claim(JOB, new_token())
    assert claim is not None
    ends = bench.client.redis.zscore(f"job:{JOB}:expiry", str(claim.rows))
    assert isinstance(ends, float)
    assert before - 1000 < ends - LEASE_MS < time.time() * 1000 + 1000


def test_a_partial_commit_gives_the_rest_back(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    rows, token = bench.lease()
    done, rest = rows.cut(4)
    assert bench.commit(rows, token, done=done) is Answer.OK
    assert bench.commit(rows, token, done=done) is Answer.OK  # repeated: still yes
    assert bench.counts() == (4, 0)
    assert bench.status() is Status.IN_PROGRESS
    assert bench.ranges.heartbeat(JOB, rows, token) is Answer.LOST
    assert bench.commit(rows, token) is Answer.LOST  # the whole range is a tombstone now
    assert bench.client.redis.hget(f"job:{JOB}:ranges", str(rows)) == "s"
    found, second = bench.lease()
    assert found == rest
    assert bench.commit(found, second) is Answer.FINALIZE
    assert [part.rows for part in bench.ranges.parts(JOB)] == [done, rest]


def test_pieces_of_a_range_remember_the_shard_that_holds_them(bench: LedgerBench) -> None:
    bench.plan(20, 10)
    whole, token = bench.lease()
    for cut in (3, 7):
        bench.commit(whole, token, done=whole.cut(cut)[0])
        token = new_token()
        piece = bench.claim(token=token)
        assert piece.rows == RowRange(cut, 10)
        assert piece.origin == RowRange(0, 10)
        whole = piece.rows
    assert bench.claim().origin == RowRange(10, 20)


def test_a_partial_commit_clears_the_attempts_of_its_rows(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    for _ in range(2):
        bench.die()
    rows, token = bench.lease()
    assert bench.attempts(rows) == 3
    bench.commit(rows, token, done=rows.cut(4)[0])
    assert bench.attempts(rows) == 0
    assert bench.attempts(rows.cut(4)[0]) == 0
    assert bench.claim().deaths == 1  # the others stay under suspicion


def test_a_release_is_no_attempt_and_a_death_is(bench: LedgerBench) -> None:
    bench.plan(1, 1)
    for deaths in range(5):
        for _ in range(3):
            token = new_token()
            claim = bench.claim(token=token)
            assert claim.deaths == deaths
            assert bench.ranges.release(JOB, claim.rows, token) is Answer.OK
        bench.die()
        assert bench.attempts(RowRange(0, 1)) == deaths + 1
    # Deaths alone end no job: a lone row becomes an error row, by whoever claims it next.
    assert bench.status() is Status.IN_PROGRESS


def test_a_release_repeated_gives_nothing_back_twice(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    rows, token = bench.lease()
    assert bench.ranges.release(JOB, rows, token) is Answer.OK
    assert bench.ranges.release(JOB, rows, token) is Answer.LOST
    assert bench.lease()[0] == rows
    assert bench.ranges.claim(JOB, new_token()) is None
    assert bench.attempts(rows) == 1


def test_parts_come_in_input_order_from_any_row(bench: LedgerBench) -> None:
    bench.plan(1_100, 1)  # more than a page
    leases = [bench.lease() for _ in range(1_100)]
    for rows, token in reversed(leases):
        bench.commit(rows, token)
    expected = [CommittedPart(rows, token) for rows, token in leases]
    assert list(bench.ranges.parts(JOB)) == expected
    assert list(bench.ranges.parts(JOB, 1_050)) == expected[1_050:]


def test_jobs_do_not_share_ranges_or_tokens(bench: LedgerBench) -> None:
    bench.plan(10, 10)
    bench.plan(10, 10, job=new_job("job_b"))
    rows, token = bench.lease("job_a")
    assert bench.commit(rows, token, job_id="job_b") is Answer.LOST
    assert bench.claim("job_b", token).rows == rows
    assert bench.commit(rows, token, job_id="job_b") is Answer.FINALIZE
    assert bench.status("job_a") is Status.IN_PROGRESS
