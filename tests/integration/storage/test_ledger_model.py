"""The ledger beside a simple model of it, under random steps of workers, planners, sweepers and restorers.

``LEDGER_RUNS`` says how many runs are made on each server; a few dozen where it does not.
"""

from __future__ import annotations

import os
from itertools import islice

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from jobs.states import TRANSITIONS, Status
from storage.ledger import Answer
from storage.ledger.scripts import LedgerClient
from tests.integration.storage.ledgerbench import LEASE_MS
from tests.integration.storage.ledgermodel import ENDING, RUNNING, ModelJob
from tests.integration.storage.ledgersteps import GAP_MS, LedgerSteps

#: Random runs on each server.
RUNS = int(os.environ.get("LEDGER_RUNS", "40"))

#: What the ledger holds of a job's ranges.
SORTED = ("pending", "expiry", "done")
HASHES = ("ranges", "leases", "tokens", "hands", "attempts", "origins")


class LedgerMachine(LedgerSteps):
    """Compares, after each step, all that the ledger holds with the model."""

    @invariant()
    def the_ledger_holds_what_the_model_holds(self) -> None:
        with self.bench.client.redis.pipeline(transaction=False) as pipe:
            for job in self.jobs.values():
                pipe.hgetall(f"job:{job.id}")
                for name in SORTED:
                    pipe.zrange(f"job:{job.id}:{name}", 0, -1, withscores=True)
                for name in HASHES:
                    pipe.hgetall(f"job:{job.id}:{name}")
            pipe.smembers("active")
            *found, active = pipe.execute()
        assert active == {job.id for job in self.jobs.values() if not job.ended}
        replies = iter(found)
        for job in self.jobs.values():
            job.check()
            self._compare_record(job, next(replies))
            self._compare_pieces(job, *islice(replies, len(SORTED) + len(HASHES)))

    def _compare_record(self, job: ModelJob, record: dict[str, str]) -> None:
        assert (record["status"], record.get("outcome")) == (job.status, job.outcome)
        counts = (int(record.get("completed", 0)), int(record.get("failed", 0)))
        assert counts == (job.completed, job.failed)
        assert record.get("sealed") == ("1" if job.sealed else None)
        version = int(record["version"])
        assert version >= self.versions.get(job.id, 0)
        before = self.statuses[job.id]
        assert (
            job.status is before or job.id in self.begun_anew or job.status in TRANSITIONS[before]
        )
        self.statuses[job.id], self.versions[job.id] = job.status, version
        self.begun_anew.discard(job.id)

    def _compare_pieces(
        self,
        job: ModelJob,
        pending: list[tuple[str, float]],
        expiry: list[tuple[str, float]],
        done: list[tuple[str, float]],
        *hashes: dict[str, str],
    ) -> None:
        ranges, leases, tokens, hands, attempts, origins = hashes
        held = job.leases()
        assert [name for name, _ in done] == [
            f"{rows}.{token}" for rows, token in sorted(job.done().items())
        ]
        assert leases == {str(rows): piece.lease for rows, piece in held.items()}
        assert tokens == {piece.lease: str(rows) for rows, piece in held.items()}
        assert dict(expiry) == {str(rows): piece.until for rows, piece in held.items()}
        assert hands == {str(rows): str(piece.hand) for rows, piece in held.items() if piece.hand}
        if job.decided or job.ended:
            return
        assert [name for name, _ in pending] == list(map(str, job.waiting()))
        live = {rows: piece for rows, piece in job.pieces.items() if piece.part is None}
        assert {name: int(count) for name, count in attempts.items()} == {
            str(rows): piece.deaths + (piece.lease is not None)
            for rows, piece in live.items()
            if piece.deaths or piece.lease is not None
        }
        assert origins == {
            str(rows): str(piece.origin) for rows, piece in live.items() if piece.origin != rows
        }
        said = {str(rows): "s" for rows in job.seen}
        for rows, piece in job.pieces.items():
            said[str(rows)] = f"d:{piece.part}" if piece.part else "l" if piece.lease else "p"
        assert ranges == said

    @invariant()
    def only_jobs_with_something_to_do_are_chosen(self) -> None:
        waiting = {
            job.id
            for job in self.jobs.values()
            if job.status is Status.IN_PROGRESS and not job.decided and job.waiting()
        }
        chosen = self.bench.ranges.choose([])
        assert chosen in waiting if waiting else chosen is None

    def teardown(self) -> None:
        """Drive every job to its end: the parts of those that nothing stopped then tile the input."""
        for job in self.jobs.values():
            self._drive(job)

    def _drive(self, job: ModelJob) -> None:
        self.bench.now += 70 * LEASE_MS
        self.sweep(job.id)
        if job.may_plan:
            planner = self._token()
            answer = job.plan_begin(planner, self.bench.now)
            assert self.bench.ranges.plan_begin(job.id, planner) is answer
            assert answer in (Answer.OK, Answer.SPENT)
            if answer is Answer.SPENT:
                self.fail(job.id)
        if job.may_plan:
            for number in range(len(job.plan)):
                self._add(job, number, planner)
            answer = self.bench.ranges.seal(job.id, planner, job.planned_rows, "[]")
            assert answer is job.seal(planner)
        if job.status in RUNNING:
            self.look("server")
            self.bench.now += GAP_MS
            self.look("server")
            self.sweep(job.id)
        while job.status is Status.IN_PROGRESS:
            self.claim(job.id)
            self._commit(self.leases[-1], self.leases[-1].rows)
        if job.status in ENDING:
            self._finalize(job, self._token(), killed=False)
        assert job.ended
        assert self.bench.status(job.id) is job.status


@pytest.mark.timeout(300 + 5 * RUNS)
def test_the_ledger_does_what_its_model_does(client: LedgerClient) -> None:
    class Machine(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(client)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
