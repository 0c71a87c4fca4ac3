"""Computing one leased range: its shard fetched, its rows run window by window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import structlog

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import Kind, KindParams, LoadedModel, RunContext
from jobs.names import JobNames
from jobs.ranges import RowRange
from jobs.rows import (
    BadRow,
    CarriedRow,
    ModelProduct,
    Outcome,
    Row,
    RowFailure,
    ShardRow,
    Success,
    Usage,
    error_line,
    result_line,
)
from nlp.ahead import Ahead
from storage.ledger import Claim
from storage.parts import PartLines, iterate_shard, shard_bytes
from storage.submission import SubmittedJob
from workers.disk_cache import Hold
from workers.failing import kind_faults
from workers.lease import Drain, Lease, persist
from workers.runtime import Runtime
from workers.shards import Shards

log = structlog.get_logger(__name__)

#: Deaths of a row that is alone in its range, after which it is an error.
_MOST_DEATHS = 3

#: A range on which a worker died is taken in so many steps, to see which rows it was.
_SUSPECT_STEPS = 32

#: Rows of a window, carried ones included, as a multiple of those that a kind wants to compute together.
_CARRIED_WINDOWS = 32

#: Rows of a window as it is computed: those to compute, those that cannot be, and lines that are ready made.
Window = Sequence[Row | BadRow | bytes]

#: Least time between two words about what is in hand, in seconds: quick kinds take several windows in hand at once.
_HAND_SECONDS = 0.1


@dataclass(frozen=True)
class OpenJob:
    """A job that this worker is ready to compute for."""

    job: SubmittedJob
    names: JobNames
    kind: Kind
    params: KindParams
    model_key: str  #: what the cache knows the model by; empty without one
    model: LoadedModel
    state: Any
    holds: tuple[Hold, ...] = ()  #: of the model's files on disk, some of which are read late


@dataclass
class Work:
    """What has been computed of a range so far: always its first rows, whole windows of them."""

    rows: RowRange
    row_bytes: (
        float  #: average size of a row in the shard; 0 where speed says nothing, as of trainings
    )
    lines: PartLines = field(default_factory=PartLines)
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    carried: int = 0  #: rows that brought their results along
    carried_seconds: float = 0.0  #: spent on passing those rows on

    @property
    def device_seconds(self) -> float:
        """Seconds in which the device was needed."""
        return max(0.0, self.seconds - self.carried_seconds)

    def account(self, seconds: float, ran: float, *, rows: int, carried: int) -> None:
        """Add a window.

        Args:
            seconds: from the end of the one before to its own.
            ran: of these the kind's own. What is left is reading and writing, alike for all rows.
            rows: of the window.
            carried: of these with results of before.
        """
        self.seconds += seconds
        self.carried_seconds += (seconds - ran) * carried / rows

    @property
    def done(self) -> RowRange | None:
        """The rows computed, or None when there are none yet."""
        count = len(self.lines)
        return RowRange(self.rows.start, self.rows.start + count) if count else None

    @property
    def usage(self) -> Usage:
        """Tokens of all rows computed."""
        return Usage(self.input_tokens, self.output_tokens)


class Hand:
    """Tells the ledger which rows are in hand, not more often than is worth it.

    Args:
        lease: of the range.
        size: rows of a window.
        patient: whether windows that are done quickly are taken in hand several at a time.
    """

    def __init__(self, lease: Lease, size: int, *, patient: bool) -> None:
        self._lease = lease
        self.size = size
        self.patient = patient
        self._windows = 1
        self._until = 0  # rows of the range that were taken in hand
        self._told = 0.0

    def reach(self, start: int, stop: int) -> None:
        """Say that the window of these rows of the range comes next.

        Raises:
            LeaseLost: the lease cannot be trusted any more.
            JobStopped: the job's outcome is decided.
        """
        if stop <= self._until:
            return
        now = time.monotonic()
        if self.patient and self._told and now - self._told < _HAND_SECONDS:
            self._windows *= 2
        self._told = now
        rows = self._lease.rows
        self._until = max(stop, min(start + self._windows * self.size, len(rows)))
        self._lease.take_in_hand(RowRange(rows.start + start, rows.start + self._until))


def published(
    runtime: Runtime,
    opened: OpenJob,
    success: Success,
    product: ModelProduct,
    check: Callable[[], None] = lambda: None,
) -> Success:
    """The same success, with the model that it made in the registry and named in its output.

    Args:
        check: called between pieces of the upload; raises to give up.
    """
    version = runtime.registry.publish(
        opened.job.tenant,
        product.name,
        product.folder,
        source=product.source,
        facts=dict(product.facts),
        job=opened.job.id,
        check=check,
    )
    output = {"model": version.name, "version": version.version, **success.output}
    return Success(output, success.usage)


class RangeComputer:
    """Computes leased ranges on one device."""

    def __init__(self, runtime: Runtime, device: Device) -> None:
        self._runtime = runtime
        self._device = device
        self._shards = Shards(runtime.store)

    def compute(self, opened: OpenJob, lease: Lease, claim: Claim) -> Work:
        """Compute a range, or as much of it as there is time for; to be committed as it is.

        Raises:
            LeaseLost: the range may be somebody else's by now.
            JobStopped: the job's outcome is decided.
            JobFailure: its kind or its model is at fault.
            Unavailable: the store or the ledger is away.
        """
        shard, row_bytes = self._shard_of(opened, lease, claim)
        if claim.following is None:
            self._shards.forget()
        else:
            self._shards.expect(opened.names.shard(claim.following))
        work = Work(lease.rows, row_bytes)
        if claim.deaths >= _MOST_DEATHS and len(lease.rows) == 1:
            failure = RowFailure("worker_lost", f"{claim.deaths} workers ended on this row")
            lost = next(shard)
            if not isinstance(lost, CarriedRow):
                work.lines.add_error(error_line(lost, failure))
                return work
            shard = iter([lost])  # nobody dies of it
        size = opened.kind.window_rows
        if claim.deaths:
            size = min(size, -(-len(lease.rows) // _SUSPECT_STEPS))
        try:
            self._run(opened, lease, shard, Hand(lease, size, patient=not claim.deaths), work)
        except Drain:
            log.info("draining", job=lease.job_id, done=str(work.done), range=str(lease.rows))
        return work

    def _run(
        self,
        opened: OpenJob,
        lease: Lease,
        shard: Iterator[ShardRow],
        hand: Hand,
        work: Work,
    ) -> None:
        """Run window after window, until all are done or somebody else should have a turn."""

        def tick(_rows: int) -> None:
            lease.check()
            if lease.draining.is_set():
                raise Drain

        context = RunContext(device=self._device, tick=tick)
        carry = tuple(opened.job.spec.input.carry)
        before = time.monotonic()
        coming = windows(shard, hand, carry)
        window = next(coming, None)
        start = 0
        with Ahead(opened.kind, opened.model, opened.state, opened.params) as ahead:
            while window:
                # On suspicion one window at a time, so that it is known which one killed.
                following = next(coming, None) if ahead.useful and hand.patient else None
                # Making rows ready may kill as well as computing them.
                hand.reach(start, start + len(window) + len(following or ()))
                start += len(window)
                context = replace(context, ahead=ahead.take())
                ahead.begin(good_rows(following or ()))
                ran = self._run_window(opened, window, context, work)
                now = time.monotonic()
                carried = sum(isinstance(row, bytes) for row in window)
                work.account(now - before, ran, rows=len(window), carried=carried)
                before = now
                if lease.must_yield or work.seconds > self._runtime.settings.slice_seconds:
                    log.info("making room", job=lease.job_id, done=str(work.done))
                    return
                window = following or next(coming, None)

    def _shard_of(
        self, opened: OpenJob, lease: Lease, claim: Claim
    ) -> tuple[Iterator[ShardRow], float]:
        """The rows of the lease, and the average size of one in bytes.

        The shard is that of the range that was planned, of which the lease may be a piece.
        """
        name = opened.names.shard(claim.origin)
        data = persist(lease, lambda: self._shards.get(name))
        first = claim.rows.start - claim.origin.start
        rows = islice(iterate_shard(data), first, first + len(claim.rows))
        return rows, shard_bytes(data) / len(claim.origin)

    def _run_window(
        self,
        opened: OpenJob,
        window: Window,
        context: RunContext,
        work: Work,
    ) -> float:
        """Run a window; seconds that the kind itself took."""
        good = good_rows(window)
        outcomes: list[Outcome] = []
        begun = time.monotonic()
        if good:
            with kind_faults(opened.kind):
                opened.model.activate()
                outcomes = opened.kind.run(opened.model, opened.state, good, opened.params, context)
        ran = time.monotonic() - begun
        context.tick(0)
        if len(outcomes) != len(good):
            raise JobFailure(
                "kind_broken",
                f"kind {opened.kind.name} gave {len(outcomes)} outcomes for {len(good)} rows",
            )
        carry = tuple(opened.job.spec.input.carry)
        lines, following = work.lines, iter(outcomes)
        for row in window:
            if isinstance(row, bytes):
                lines.add_result(row)
                work.carried += 1
                continue
            if isinstance(row, BadRow):
                lines.add_error(error_line(row, row.failure))
                continue
            outcome = next(following)
            if isinstance(outcome, RowFailure):
                lines.add_error(error_line(row, outcome))
                continue
            if outcome.product is not None:
                outcome = published(self._runtime, opened, outcome, outcome.product)
            lines.add_result(result_line(row, outcome, carry))
            work.input_tokens += outcome.usage.input_tokens
            work.output_tokens += outcome.usage.output_tokens
        return ran


def good_rows(window: Window) -> list[Row]:
    """The rows of a window that its kind is given."""
    return [row for row in window if isinstance(row, Row)]


def windows(
    shard: Iterator[ShardRow], hand: Hand, carry: tuple[str, ...]
) -> Iterator[list[Row | BadRow | bytes]]:
    """The rows of a range in windows, carried rows as the lines that they become.

    A window holds so many rows to compute as the kind wants together, with the carried ones between them; on suspicion
    it is just so many rows, however many are carried.
    """
    most = hand.size * (_CARRIED_WINDOWS if hand.patient else 1)
    window: list[Row | BadRow | bytes] = []
    left = hand.size
    for row in shard:
        if isinstance(row, CarriedRow):
            window.append(result_line(row.row, row.success, carry))
        else:
            window.append(row)
            left -= 1
        if not left or len(window) >= most:
            yield window
            window, left = [], hand.size
    if window:
        yield window
