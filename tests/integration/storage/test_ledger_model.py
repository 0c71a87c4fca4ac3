"""The ledger beside a simple model of it, under random steps of several workers and two planners."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.ids import new_token
from jobs.ranges import RowRange, check_tiling
from jobs.states import TRANSITIONS, Status
from storage.ledger import Answer
from storage.ledger.scripts import LedgerClient
from tests.integration.storage.ledgerbench import JOB, LEASE_MS, LedgerBench, new_job

PLAN = [RowRange(0, 4), RowRange(4, 5), RowRange(5, 11), RowRange(11, 15)]
TOTAL = PLAN[-1].stop

#: More deaths than a run can have: how deaths end a job is tested elsewhere.
NEVER = 10_000


@dataclass
class Model:
    """What the ledger should hold. Ranges that are pending, leased (token: range, end) and done (range: token)."""

    pending: set[RowRange] = field(default_factory=set)
    leased: dict[str, tuple[RowRange, int]] = field(default_factory=dict)
    done: dict[RowRange, str] = field(default_factory=dict)
    sealed: bool = False

    @property
    def finished(self) -> bool:
        return self.sealed and not self.pending and not self.leased


class LedgerMachine(RuleBasedStateMachine):
    """Compares every answer with the model's."""

    def __init__(self, client: LedgerClient) -> None:
        super().__init__()
        client.redis.flushdb()
        self.bench = LedgerBench(client)
        self.bench.ledger.begin_epoch()
        self.bench.jobs.enter(new_job())
        self.model = Model()
        self.planner = new_token()
        self.bench.ranges.plan_begin(JOB, self.planner)
        self.planned = 0
        #: Every lease that any worker was ever given: what zombies go on with.
        self.leases: list[tuple[RowRange, str]] = []
        self.committed: list[tuple[RowRange, str, RowRange]] = []
        self.status = Status.VALIDATING

    def _expected_status(self) -> Status:
        if self.model.finished:
            return Status.FINALIZING
        return Status.IN_PROGRESS if self.planned else Status.VALIDATING

    # --- planning --------------------------------------------------------------------------------

    @precondition(lambda self: self.planned < len(PLAN))
    @rule()
    def add(self) -> None:
        rows = PLAN[self.planned]
        assert self.bench.ranges.add(JOB, self.planner, rows) is Answer.OK
        self.model.pending.add(rows)
        self.planned += 1

    @precondition(lambda self: self.planned > 0 and not self.model.finished)
    @rule(data=st.data())
    def add_again(self, data: st.DataObject) -> None:
        rows = PLAN[data.draw(st.integers(0, self.planned - 1))]
        assert self.bench.ranges.add(JOB, self.planner, rows) is Answer.OK

    @precondition(lambda self: not self.model.sealed)
    @rule()
    def replace_the_planner(self) -> None:
        old, self.planner = self.planner, new_token()
        self.bench.now += 4 * LEASE_MS
        assert self.bench.ranges.plan_begin(JOB, self.planner) is Answer.OK
        rows = PLAN[min(self.planned, len(PLAN) - 1)]
        assert self.bench.ranges.add(JOB, old, rows) is Answer.LOST

    @precondition(lambda self: self.planned == len(PLAN) and not self.model.sealed)
    @rule()
    def seal(self) -> None:
        answer = self.bench.ranges.seal(JOB, self.planner, TOTAL, "[]")
        self.model.sealed = True
        assert answer is (Answer.FINALIZE if self.model.finished else Answer.OK)

    # --- working ---------------------------------------------------------------------------------

    @rule()
    def claim(self) -> None:
        token = new_token()
        rows = self.bench.ranges.claim(JOB, token)
        assert rows == min(self.model.pending, default=None)
        if rows is not None:
            self.model.pending.remove(rows)
            self.model.leased[token] = (rows, self.bench.now + LEASE_MS)
            self.leases.append((rows, token))

    @precondition(lambda self: self.model.leased)
    @rule(data=st.data())
    def claim_again(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(sorted(self.model.leased)))
        rows, _ = self.model.leased[token]
        assert self.bench.ranges.claim(JOB, token) == rows
        self.model.leased[token] = (rows, self.bench.now + LEASE_MS)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        rows, token = data.draw(st.sampled_from(self.leases))
        answer = self.bench.ranges.heartbeat(JOB, rows, token)
        assert answer is (Answer.OK if token in self.model.leased else Answer.LOST)
        if token in self.model.leased:
            self.model.leased[token] = (rows, self.bench.now + LEASE_MS)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        rows, token = data.draw(st.sampled_from(self.leases))
        done = RowRange(rows.start, data.draw(st.integers(rows.start + 1, rows.stop)))
        answer = self.bench.commit(rows, token, done=done)
        if self.model.done.get(done) == token:
            assert answer is (Answer.FINALIZE if self.model.finished else Answer.OK)
        elif token in self.model.leased:
            del self.model.leased[token]
            self.model.done[done] = token
            if done != rows:
                self.model.pending.add(rows.cut(done.stop)[1])
            assert answer is (Answer.FINALIZE if self.model.finished else Answer.OK)
            self.committed.append((rows, token, done))
        else:
            assert answer is Answer.LOST

    @precondition(lambda self: self.committed)
    @rule(data=st.data())
    def commit_again(self, data: st.DataObject) -> None:
        rows, token, done = data.draw(st.sampled_from(self.committed))
        answer = self.bench.commit(rows, token, done=done)
        assert answer is (Answer.FINALIZE if self.model.finished else Answer.OK)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        rows, token = data.draw(st.sampled_from(self.leases))
        answer = self.bench.ranges.release(JOB, rows, token)
        assert answer is (Answer.OK if token in self.model.leased else Answer.LOST)
        if token in self.model.leased:
            del self.model.leased[token]
            self.model.pending.add(rows)

    # --- time ------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, LEASE_MS // 2, LEASE_MS]))
    def wait(self, ms: int) -> None:
        self.bench.now += ms

    @rule()
    def sweep(self) -> None:
        lapsed = [token for token, (_, ends) in self.model.leased.items() if ends <= self.bench.now]
        for token in lapsed:
            self.model.pending.add(self.model.leased.pop(token)[0])
        expired, *_ = self.bench.client.call("sweep", JOB, NEVER, LEASE_MS * 10**6, self.bench.now)
        assert expired == len(lapsed)
        # The sweep takes a planner's role away once its lease lapsed; this one takes it up again.
        if not self.model.sealed:
            assert self.bench.ranges.plan_begin(JOB, self.planner) is Answer.OK

    # --- what always holds -----------------------------------------------------------------------

    @invariant()
    def the_parts_are_those_of_the_model_and_do_not_overlap(self) -> None:
        parts = list(self.bench.ranges.parts(JOB))
        assert {part.rows: part.token for part in parts} == self.model.done
        assert all(one.rows.stop <= other.rows.start for one, other in pairwise(parts))
        done = sum(len(rows) for rows in self.model.done)
        assert self.bench.counts() == (done, 0)

    @invariant()
    def the_state_follows(self) -> None:
        now = self.bench.status()
        assert now is self._expected_status()
        assert now is self.status or now in TRANSITIONS[self.status]
        self.status = now

    @invariant()
    def the_job_is_in_the_queue_while_a_range_waits(self) -> None:
        assert self.bench.ranges.choose([]) == (JOB if self.model.pending else None)

    def teardown(self) -> None:
        """Drive the job to its end: its parts then tile the input."""
        while self.planned < len(PLAN):
            self.add()
        if not self.model.sealed:
            self.seal()
        self.bench.lapse()
        self.sweep()
        while (rows := self.bench.ranges.claim(JOB, token := new_token())) is not None:
            last = self.bench.commit(rows, token)
            assert last in (Answer.OK, Answer.FINALIZE)
        parts = (part.rows for part in self.bench.ranges.parts(JOB))
        assert list(check_tiling(parts, TOTAL))
        assert self.bench.counts() == (TOTAL, 0)
        assert self.bench.status() is Status.FINALIZING


def test_the_ledger_does_what_its_model_does(client: LedgerClient) -> None:
    class Machine(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(client)

    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=50, stateful_step_count=30, deadline=None),
    )
