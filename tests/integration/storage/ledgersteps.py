"""The steps of random runs: workers, planners, sweepers, finalizers and restorers, each with its zombies."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from jobs.ranges import RowRange, check_tiling
from jobs.rows import Usage
from jobs.states import Lane, Status
from storage.ledger import Answer, NewJob, Replaced, RestoredPart
from storage.ledger.jobs import FIRST_PLANNER_MS, ended_fields
from storage.ledger.scripts import LedgerClient
from tests.integration.storage.ledgerbench import LEASE_MS, START, LedgerBench, new_job
from tests.integration.storage.ledgermodel import ModelJob, Watch

#: Two jobs of one tenant and one of another; the second may fail, the third may expire.
JOBS = ("job_a", "job_b", "job_c")
ROWS = 15
WINDOW_MS = 4 * LEASE_MS

#: Longest time without a sweep after which leases are given their time anew, in ms.
GAP_MS = 3 * LEASE_MS // 2

MOST_GENERATIONS = 3
ERROR = {"code": "model_not_found", "message": "no such model"}

job_ids = st.sampled_from(JOBS)


def cut(rows: int, at: list[int]) -> list[RowRange]:
    """``[0, rows)`` cut at these places."""
    bounds = sorted({0, rows, *(place for place in at if place < rows)})
    return [RowRange(start, stop) for start, stop in pairwise(bounds)]


@dataclass(frozen=True)
class Lease:
    """What some worker was given once: what zombies go on with."""

    job_id: str
    generation: int
    rows: RowRange
    token: str


@dataclass
class Restorer:
    """Somebody who enters a job from the store, and how far that is."""

    job_id: str
    token: str
    entered: int = 0


class LedgerSteps(RuleBasedStateMachine):
    """Compares every answer with the model's."""

    def __init__(self, client: LedgerClient) -> None:
        super().__init__()
        client.redis.flushall()
        self.bench = LedgerBench(client)
        self.bench.begin()
        self.watch = Watch("server", START - LEASE_MS, START - LEASE_MS)
        self.jobs: dict[str, ModelJob] = {}
        self.leases: list[Lease] = []
        self.planners: list[str] = []
        self.finalizers: list[str] = []
        self.restorers: list[Restorer] = []
        self.statuses: dict[str, Status] = {}
        self.versions: dict[str, int] = {}
        #: Jobs that this step began anew on purpose: a retry or a restore.
        self.begun_anew: set[str] = set()
        self.tokens = 0

    def _token(self) -> str:
        """A token that nobody had before: a counter, so that a run that failed can be made again."""
        self.tokens += 1
        return f"{self.tokens:032x}"

    @initialize(cuts=st.lists(st.integers(1, ROWS - 1), max_size=4))
    def enter_jobs(self, cuts: list[int]) -> None:
        for number, job_id in enumerate(JOBS):
            job = ModelJob(
                id=job_id,
                tenant="one" if number < 2 else "two",
                created_at=START + number,
                rows=ROWS,
                window_ms=WINDOW_MS if number == 2 else None,
                max_error_rows=1 if number == 1 else None,
                plan=cut(ROWS, cuts),
                planner_until=START + number + FIRST_PLANNER_MS,
            )
            if job.window_ms is not None:
                job.expires_at = job.created_at + job.window_ms
            self.jobs[job_id] = job
            self.statuses[job_id] = job.status
            assert self.bench.jobs.enter(self._new_job(job))

    def _new_job(self, job: ModelJob) -> NewJob:
        return new_job(
            job.id,
            tenant=job.tenant,
            created_at=job.created_at,
            max_error_rows=job.max_error_rows,
            window_ms=job.window_ms,
        )

    # --- planning ------------------------------------------------------------------------------------

    @rule(job_id=job_ids, data=st.data())
    def begin_to_plan(self, job_id: str, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from([*self.planners[-3:], ""])) or self._token()
        self.planners.append(token)
        answer = self.jobs[job_id].plan_begin(token, self.bench.now)
        assert self.bench.ranges.plan_begin(job_id, token) is answer

    def _planner(self, job: ModelJob, data: st.DataObject) -> str:
        """Mostly the one whose turn it is, or one that was replaced."""
        return data.draw(st.sampled_from([job.planner, job.planner, *self.planners[-2:]]))

    @precondition(lambda self: self.planners)
    @rule(job_id=job_ids, data=st.data())
    def add(self, job_id: str, data: st.DataObject) -> None:
        job = self.jobs[job_id]
        number = data.draw(st.integers(0, min(job.shards, len(job.plan) - 1)))
        self._add(job, number, self._planner(job, data))

    @precondition(lambda self: self.planners)
    @rule(job_id=job_ids)
    def add_next(self, job_id: str) -> None:
        """What a planner does that lives: the first range that the ledger has not heard of."""
        job = self.jobs[job_id]
        missing = [number for number, rows in enumerate(job.plan) if rows not in job.seen]
        if missing and missing[0] <= job.shards:
            self._add(job, missing[0], job.planner or "nobody")

    def _add(self, job: ModelJob, number: int, token: str) -> None:
        token = token or "nobody"
        if not job.ended:
            job.shards = max(job.shards, number + 1)  # the store first
        rows = job.plan[number]
        answer = job.add(token, rows, self.bench.now)
        assert self.bench.ranges.add(job.id, token, rows) is answer

    @precondition(lambda self: self.planners)
    @rule(job_id=job_ids, data=st.data())
    def seal(self, job_id: str, data: st.DataObject) -> None:
        job = self.jobs[job_id]
        token = self._planner(job, data) or "nobody"
        if token == job.planner:
            told = all(rows in job.seen for rows in job.plan)
            if not (told or (job.decided and job.shards == len(job.plan))):
                return  # only a planner that has added all seals
            job.all_shards = True
        answer = job.seal(token)
        assert self.bench.ranges.seal(job_id, token, job.planned_rows, "[]") is answer

    # --- working -------------------------------------------------------------------------------------

    @rule(job_id=job_ids)
    def claim(self, job_id: str) -> None:
        self._claim(job_id, self._token())

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def claim_again(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases[-6:]))
        self._claim(lease.job_id, lease.token)

    def _claim(self, job_id: str, token: str) -> None:
        job = self.jobs[job_id]
        rows = job.claim(token, self.bench.now)
        claim = self.bench.ranges.claim(job_id, token)
        assert (claim and claim.rows) == rows
        if claim is not None:
            piece = job.pieces[claim.rows]
            said = (claim.deaths, claim.origin, claim.generation)
            assert said == (piece.deaths, piece.origin, job.generation)
            self.leases.append(Lease(job_id, job.generation, claim.rows, token))

    def _lease(self, data: st.DataObject) -> tuple[Lease, ModelJob]:
        """Of somebody who still holds it, or of a zombie."""
        held = [
            lease for lease in self.leases[-12:] if lease.rows in self.jobs[lease.job_id].leases()
        ]
        lease = data.draw(st.sampled_from([*held, *held, *self.leases[-12:]]))
        return lease, self.jobs[lease.job_id]

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        lease, job = self._lease(data)
        hand = None
        if data.draw(st.booleans()):
            first = data.draw(st.integers(lease.rows.start, lease.rows.stop - 1))
            hand = RowRange(first, data.draw(st.integers(first + 1, lease.rows.stop)))
        expected = job.heartbeat(lease.rows, lease.token, hand, self.bench.now)
        answer = self.bench.ranges.heartbeat(job.id, lease.rows, lease.token, hand)
        if answer is Answer.YIELD:
            others = [other for other in self.jobs.values() if other is not job]
            assert any(other.waiting() and not other.leases() for other in others)
            answer = Answer.OK
        assert answer is expected

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        lease, _ = self._lease(data)
        whole = data.draw(st.booleans())
        stop = data.draw(st.integers(lease.rows.start + 1, lease.rows.stop))
        self._commit(lease, lease.rows if whole else RowRange(lease.rows.start, stop))

    def _commit(self, lease: Lease, done: RowRange) -> None:
        job = self.jobs[lease.job_id]
        if lease.generation == job.generation:
            job.parts.add((done, lease.token))  # the store first
        answer = job.commit(lease.rows, lease.token, done)
        errors = job.errors_of(done)
        said = self.bench.commit(lease.rows, lease.token, job_id=job.id, done=done, errors=errors)
        assert said is answer

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lease, job = self._lease(data)
        answer = job.release(lease.rows, lease.token)
        assert self.bench.ranges.release(job.id, lease.rows, lease.token) is answer

    # --- time ------------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, LEASE_MS // 2, LEASE_MS, LEASE_MS, 70 * LEASE_MS]))
    def wait(self, ms: int) -> None:
        self.bench.now += ms

    @rule(run_id=st.sampled_from(["server", "server", "server", "restarted"]))
    def look(self, run_id: str) -> None:
        """What a sweeper does first; another server, or a gap, gives all leases their time anew."""
        since = self.watch.see(run_id, self.bench.now, GAP_MS)
        assert self.bench.see(run_id, gap_ms=GAP_MS) == since

    @rule(job_id=job_ids)
    def sweep(self, job_id: str) -> None:
        job = self.jobs[job_id]
        expired, stuck = job.sweep(self.watch, self.bench.now)
        found = self.bench.ranges.sweep(job_id)
        assert (found.expired, found.stuck) == (expired, stuck)
        assert (found.status, found.lane) == (job.status, Lane.BULK if job.ended else Lane.QUICK)

    @rule(job_id=job_ids)
    def a_worker_dies(self, job_id: str) -> None:
        """All leases run out while two sweepers watch."""
        for _ in range(4):
            self.bench.now += LEASE_MS // 3
            self.look("server")
        self.sweep(job_id)
        self.sweep(job_id)

    # --- ends ------------------------------------------------------------------------------------------

    @rule(job_id=job_ids)
    def cancel(self, job_id: str) -> None:
        job = self.jobs[job_id]
        decided = job.decide("cancelled")
        job.cancelled = job.cancelled or decided
        assert self.bench.jobs.cancel(job_id) == (decided, job.status)

    @rule(job_id=job_ids)
    def fail(self, job_id: str) -> None:
        assert self.bench.jobs.fail(job_id, ERROR) == self.jobs[job_id].decide("failed")

    @rule(job_id=job_ids, data=st.data())
    def finalize(self, job_id: str, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from([*self.finalizers[-2:], ""])) or self._token()
        self.finalizers.append(token)
        self._finalize(self.jobs[job_id], token, killed=data.draw(st.booleans()))

    @rule(job_id=job_ids, data=st.data())
    def gather(self, job_id: str, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from([*self.finalizers[-2:], ""])) or self._token()
        self.finalizers.append(token)
        answer = self.jobs[job_id].final_begin(token, self.bench.now, early=True)
        assert self.bench.ranges.final_begin(job_id, token, early=True)[0] is answer

    def _finalize(self, job: ModelJob, token: str, *, killed: bool) -> None:
        answer = job.final_begin(token, self.bench.now)
        assert self.bench.ranges.final_begin(job.id, token)[0] is answer
        if answer is not Answer.OK or killed:
            return
        parts = [part.rows for part in self.bench.ranges.parts(job.id)]
        if not job.decided:
            assert list(check_tiling(parts, job.planned_rows)) == parts
        status = job.finish()
        record = self.bench.record(job.id)
        ended = {**record.to_json(), "status": status, "ended_at": self.bench.now}
        for first in (True, False):
            assert self.bench.jobs.finish(type(record).from_json(ended)) is first

    @precondition(lambda self: any(job.ended for job in self.jobs.values()))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from([job for job in self.jobs.values() if job.ended]))
        left = job.rows - job.completed
        if left == 0 or job.generation == MOST_GENERATIONS:
            return
        base = job.completed
        job.retry(cut(left, data.draw(st.lists(st.integers(1, ROWS - 1)))), self.bench.now)
        window = "" if job.window_ms is None else job.window_ms
        arguments = (job.generation, base, FIRST_PLANNER_MS, window, self.bench.now)
        call = self.bench.client.call
        assert call("retry", job.id, *arguments) == [1, "validating"]
        assert call("retry", job.id, *arguments) == [0, "validating"]
        self.begun_anew.add(job.id)

    # --- restoring -------------------------------------------------------------------------------------

    @rule(job_id=job_ids)
    def restore(self, job_id: str) -> None:
        """Somebody begins to enter a job anew; of one that has ended only its record is entered."""
        job, restorer = self.jobs[job_id], Restorer(job_id, self._token())
        fields: list[Any] = self._new_job(job).fields()
        if job.generation > 1:
            fields += ["attempts", job.generation, "base", job.base, "completed", job.base]
        if job.expires_at is not None:
            fields += ["expires_at", job.expires_at]
        if job.ended:
            fields += ended_fields(self.bench.record(job_id))
        else:
            job.restore_begin(restorer.token, self.bench.now)
            self.restorers.append(restorer)
            self.begun_anew.add(job_id)
        begin = self.bench.ledger.restoring.begin
        assert begin(job_id, restorer.token, job.tenant, job.created_at, fields) is job.status

    @precondition(lambda self: self.restorers)
    @rule(data=st.data())
    def restore_more(self, data: st.DataObject) -> None:
        """A restorer takes its next step; one that was replaced learns of it."""
        restorer = data.draw(st.sampled_from(self.restorers[-2:]))
        job = self.jobs[restorer.job_id]
        mine = job.restoring == restorer.token
        try:
            self._restore_step(restorer, job, mine=mine)
        except Replaced:
            assert not mine
            self.restorers.remove(restorer)
        else:
            assert mine

    def _restore_step(self, restorer: Restorer, job: ModelJob, *, mine: bool) -> None:
        restoring = self.bench.ledger.restoring
        if restorer.entered < min(job.shards, len(job.plan)):
            planned = job.plan[restorer.entered]
            parts = [self._restored(job, *part) for part in job.chosen(planned)]
            expected = job.restore_range(planned) if mine else 0
            restorer.entered += 1
            assert restoring.enter(job.id, restorer.token, planned, parts) == expected
        else:
            rows = job.planned_rows if job.all_shards else None
            if mine:
                job.restore_end(self.bench.now)
                self.restorers.remove(restorer)
            restoring.end(job.id, restorer.token, rows=rows, warnings="[]", cancelled=job.cancelled)

    def _restored(self, job: ModelJob, rows: RowRange, token: str) -> RestoredPart:
        errors = job.errors_of(rows)
        return RestoredPart(
            rows=rows,
            token=token,
            results=len(rows) - errors,
            errors=errors,
            usage=Usage(len(rows), 2 * len(rows)),
            device_ms=5,
        )
