"""The rules of the ledger once more, as simply as they can be said: what random tests compare it with.

Nothing here knows Redis. A model job also knows what lies in the store, for that is what a restore goes by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from jobs.ranges import RowRange
from jobs.states import ENDED, Status
from storage.ledger import Answer
from storage.ledger.jobs import FIRST_PLANNER_MS
from storage.ledger.ranges import MOST_PLANNERS, RESEND_MS
from tests.integration.storage.ledgerbench import LEASE_MS

#: Time that a restored job has before a planner is sent for, in ms.
RESTORE_GRACE_MS = 60_000

RUNNING = (Status.VALIDATING, Status.IN_PROGRESS)
ENDING = (Status.FINALIZING, Status.CANCELLING)


@dataclass
class Piece:
    """A range that waits, is leased or is done; what a split leaves behind is no piece any more."""

    origin: RowRange
    deaths: int = 0
    lease: str | None = None
    until: int = 0  #: when the lease ends, in ms
    hand: RowRange | None = None
    part: str | None = None  #: token of the committed part

    @property
    def waits(self) -> bool:
        return self.lease is None and self.part is None


@dataclass
class Watch:
    """Which server the sweepers see, and since when without a gap."""

    run_id: str
    since: int
    seen: int

    def see(self, run_id: str, now: int, gap: int) -> int:
        if run_id != self.run_id or now - self.seen > gap:
            self.since = now
        self.run_id, self.seen = run_id, now
        return self.since


@dataclass
class ModelJob:
    """One job: what the ledger should hold of it, and what lies in the store."""

    id: str
    tenant: str
    created_at: int
    rows: int  #: of the input
    window_ms: int | None
    max_error_rows: int | None
    plan: list[RowRange]
    planner_until: int

    status: Status = Status.VALIDATING
    outcome: str | None = None
    generation: int = 1
    base: int = 0
    expires_at: int | None = None
    sealed: bool = False
    failed: int = 0
    completed: int = 0
    pieces: dict[RowRange, Piece] = field(default_factory=dict)
    seen: set[RowRange] = field(default_factory=set)
    planner: str = ""
    plannings: int = 0  #: planners since one got further
    finalizer: str = ""
    finalizer_until: int = 0
    restoring: str = ""

    #: The store: how many shards lie there, whether it is said that these are all, whether a cancel lies there, and
    #: every part that any worker ever put, committed or not.
    shards: int = 0
    all_shards: bool = False
    cancelled: bool = False
    parts: set[tuple[RowRange, str]] = field(default_factory=set)

    # --- what is asked of it -----------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def decided(self) -> bool:
        return self.outcome is not None

    @property
    def may_plan(self) -> bool:
        if self.sealed:
            return False
        if self.outcome == "expired":
            return self.status is Status.FINALIZING
        return not self.decided and self.status in RUNNING

    @property
    def planned_rows(self) -> int:
        """Rows of this generation."""
        return self.rows - self.base

    def errors_of(self, rows: RowRange) -> int:
        """How many rows of a range fail: always the same ones, as with real rows."""
        return sum((row * 7 + self.generation) % 9 == 0 for row in range(rows.start, rows.stop))

    def waiting(self) -> list[RowRange]:
        """Ranges that wait, in the order in which they are claimed: what killed workers last."""
        found = [rows for rows, piece in self.pieces.items() if piece.waits]
        return sorted(found, key=lambda rows: (self.pieces[rows].deaths, rows))

    def leases(self) -> dict[RowRange, Piece]:
        return {rows: piece for rows, piece in self.pieces.items() if piece.lease is not None}

    def done(self) -> dict[RowRange, str]:
        return {rows: piece.part for rows, piece in self.pieces.items() if piece.part is not None}

    def by_token(self, token: str) -> RowRange | None:
        return next((rows for rows, piece in self.leases().items() if piece.lease == token), None)

    # --- planning ------------------------------------------------------------------------------------

    def plan_begin(self, token: str, now: int) -> Answer:
        if not self.may_plan:
            return Answer.OVER
        if self.restoring:
            return Answer.HELD
        if self.planner not in ("", token) and self.planner_until > now:
            return Answer.HELD
        another = self.planner != token
        self.plannings += another
        self.planner, self.planner_until = token, now + LEASE_MS
        return Answer.SPENT if another and self.plannings > MOST_PLANNERS else Answer.OK

    def add(self, token: str, rows: RowRange, now: int) -> Answer:
        if self.planner != token or not self.may_plan:
            return Answer.LOST
        self.planner_until = now + LEASE_MS
        if not self.decided and rows not in self.seen:
            self._enter(rows, Piece(origin=rows))
            self.status, self.plannings = Status.IN_PROGRESS, 0
        return Answer.OK

    def seal(self, token: str) -> Answer:
        if self.planner != token or not self.may_plan:
            return Answer.LOST
        self.sealed, self.planner, self.plannings = True, "", 0
        return Answer.FINALIZE if self.decided or self._settle() else Answer.OK

    def _enter(self, rows: RowRange, piece: Piece) -> None:
        self.pieces[rows] = piece
        self.seen.add(rows)

    def _settle(self) -> bool:
        """Whether there are too many errors, or nothing is left to do."""
        if self.max_error_rows is not None and self.failed > self.max_error_rows:
            return self.decide("failed")
        return self._finish_if_done()

    def _finish_if_done(self) -> bool:
        done = all(piece.part is not None for piece in self.pieces.values())
        if self.status in RUNNING and self.sealed and not self.decided and done:
            self.status = Status.FINALIZING
            return True
        return False

    def decide(self, outcome: str) -> bool:
        """Decide the outcome, if that has not been done."""
        if self.status not in RUNNING or self.decided:
            return False
        self.outcome = outcome
        self.status = Status.CANCELLING if outcome == "cancelled" else Status.FINALIZING
        return True

    # --- working -------------------------------------------------------------------------------------

    def claim(self, token: str, now: int) -> RowRange | None:
        rows = self.by_token(token)
        if rows is None:
            waiting = self.waiting()
            if self.status is not Status.IN_PROGRESS or not waiting:
                return None
            rows = waiting[0]
        self.pieces[rows].lease = token
        self.pieces[rows].until = now + LEASE_MS
        return rows

    def _leased(self, rows: RowRange, token: str) -> Piece | None:
        piece = self.pieces.get(rows)
        return piece if piece is not None and piece.lease == token else None

    def heartbeat(self, rows: RowRange, token: str, hand: RowRange | None, now: int) -> Answer:
        piece = self._leased(rows, token)
        if piece is None:
            return Answer.LOST
        if self.decided:
            return Answer.STOP
        piece.until = now + LEASE_MS
        piece.hand = hand or piece.hand
        return Answer.OK

    def commit(self, rows: RowRange, token: str, done: RowRange) -> Answer:
        known = self.pieces.get(done)
        if known is not None and known.part == token:
            return Answer.FINALIZE if self.status is Status.FINALIZING else Answer.OK
        piece = self._leased(rows, token)
        if piece is None:
            return Answer.LOST
        del self.pieces[rows]
        if self.decided:
            return Answer.STOP
        self._enter(done, Piece(origin=piece.origin, part=token))
        if done != rows:
            suspect = min(piece.deaths, 1)
            self._enter(rows.cut(done.stop)[1], Piece(origin=piece.origin, deaths=suspect))
        self._count(done)
        return Answer.FINALIZE if self._settle() else Answer.OK

    def _count(self, done: RowRange) -> None:
        errors = self.errors_of(done)
        self.failed += errors
        self.completed += len(done) - errors

    def release(self, rows: RowRange, token: str) -> Answer:
        piece = self._leased(rows, token)
        if piece is None:
            return Answer.LOST
        self._let_go(rows, piece)
        return Answer.OK

    def _let_go(self, rows: RowRange, piece: Piece) -> None:
        piece.lease, piece.hand = None, None
        if self.decided:
            del self.pieces[rows]

    # --- sweeping ------------------------------------------------------------------------------------

    def sweep(self, watch: Watch, now: int) -> tuple[int, str]:
        """Ranges taken back, and what is stuck."""
        if self.ended:
            return 0, ""
        if self.planner_until <= now:
            self.restoring = ""
        if self.expires_at is not None and self.expires_at <= now and not self.restoring:
            self.decide("expired")
        lapsed = [rows for rows, piece in self.leases().items() if piece.until <= now]
        if now - watch.since < LEASE_MS:
            lapsed = []
        for rows in lapsed:
            self._bury(rows)
        self._finish_if_done()
        return len(lapsed), self._stuck(now)

    def _stuck(self, now: int) -> str:
        if self.may_plan and self.planner_until <= now:
            self.planner, self.planner_until = "", now + RESEND_MS
            return "plan"
        if not self.may_plan and self.status in ENDING and self.finalizer_until <= now:
            self.finalizer, self.finalizer_until = "", now + RESEND_MS
            return "finalize"
        return ""

    def _bury(self, rows: RowRange) -> None:
        """A worker died on this range: cut it around what it had in hand."""
        piece = self.pieces[rows]
        guilty = piece.hand or rows
        deaths = piece.deaths + 1
        if piece.hand is None and deaths > 2 and len(rows) > 1:
            guilty = RowRange(rows.start, (rows.start + rows.stop) // 2)
        self._let_go(rows, piece)
        if self.decided:
            return
        if guilty == rows:
            piece.deaths = deaths
            return
        del self.pieces[rows]
        self._enter(guilty, Piece(origin=piece.origin, deaths=1))
        for start, stop in ((rows.start, guilty.start), (guilty.stop, rows.stop)):
            if start < stop:
                self._enter(RowRange(start, stop), Piece(origin=piece.origin))

    # --- ending and beginning again ------------------------------------------------------------------

    def final_begin(self, token: str, now: int, *, early: bool = False) -> Answer:
        early = early and self.status is Status.IN_PROGRESS
        if self.status not in ENDING and not early:
            return Answer.OVER
        if (self.may_plan and not early) or self.restoring:
            return Answer.HELD
        if self.finalizer not in ("", token) and self.finalizer_until > now:
            return Answer.HELD
        self.finalizer, self.finalizer_until = token, now + LEASE_MS
        return Answer.OK

    def finish(self) -> Status:
        """End as a manifest would say."""
        names = {None: "completed", "cancelled": "cancelled", "failed": "failed"}
        self.status = Status(names.get(self.outcome, "expired"))
        self.pieces.clear()
        self.seen.clear()
        self.planner = self.finalizer = self.restoring = ""
        self.planner_until = self.finalizer_until = self.plannings = 0
        self.sealed = False
        return self.status

    def retry(self, plan: list[RowRange], now: int) -> None:
        """Begin the next generation."""
        self.generation += 1
        self.base, self.failed, self.plan = self.completed, 0, plan
        self.status, self.outcome = Status.VALIDATING, None
        self.planner_until = now + FIRST_PLANNER_MS
        self.expires_at = None if self.window_ms is None else now + self.window_ms
        self.shards, self.all_shards, self.cancelled = 0, False, False
        self.parts = set()

    # --- restoring -----------------------------------------------------------------------------------

    def restore_begin(self, token: str, now: int) -> None:
        self.status, self.outcome, self.sealed = Status.VALIDATING, None, False
        self.completed, self.failed = self.base, 0
        self.pieces.clear()
        self.seen.clear()
        self.planner = self.finalizer = ""
        self.planner_until, self.finalizer_until = now + RESTORE_GRACE_MS, 0
        self.plannings = 0
        self.restoring = token

    def chosen(self, planned: RowRange) -> Iterator[tuple[RowRange, str]]:
        """Parts to be kept of a planned range: by start, the longest first, without overlap."""
        reached = planned.start
        for rows, token in sorted(self.parts, key=lambda p: (p[0].start, -p[0].stop, p[1])):
            if reached <= rows.start and rows.stop <= planned.stop:
                yield rows, token
                reached = rows.stop

    def restore_range(self, planned: RowRange) -> int:
        """How many rows are left to do."""
        if self.status is Status.VALIDATING:
            self.status = Status.IN_PROGRESS
        self.seen.add(planned)
        reached, left = planned.start, 0
        ends = RowRange(planned.stop, planned.stop + 1)
        for rows, token in [*self.chosen(planned), (ends, "")]:
            if reached < rows.start:
                self._enter(RowRange(reached, rows.start), Piece(origin=planned))
                left += rows.start - reached
            if token:
                self._enter(rows, Piece(origin=planned, part=token))
                self._count(rows)
            reached = rows.stop
        return left

    def restore_end(self, now: int) -> None:
        self.restoring, self.planner_until = "", now
        self.sealed = self.all_shards
        if self.cancelled:
            self.decide("cancelled")
        elif not self.decided:
            self._settle()

    # --- what always holds ---------------------------------------------------------------------------

    def check(self) -> None:
        """Every row that was entered is in one piece, and pieces do not overlap."""
        ranges = sorted(self.pieces)
        assert all(one.stop <= other.start for one, other in pairwise(ranges))
        if not self.decided and not self.ended:
            covered = sum(map(len, ranges))
            assert covered == sum(len(rows) for rows in self.plan if rows in self.seen)
        done = self.done()
        if not self.ended:
            assert self.completed + self.failed - self.base == sum(map(len, done))
