"""Entering jobs into the ledger anew, from what the store knows of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from jobs.errors import Unavailable
from jobs.ranges import RowRange
from jobs.rows import Usage
from jobs.states import Status
from storage.ledger.scripts import Argument, LedgerClient, ledger_faults

#: Time that a restored job has before a planner is sent for, in ms; the restorer ends it early when it is done.
_GRACE_MS = 60_000

#: Life of the lock under which one process builds the whole ledger, in ms. It is renewed with every job.
REBUILD_MS = 30_000

#: What the ledger of a past life left behind, as patterns of keys. All of it comes from the store again or lapses.
_LEFTOVERS = (
    "job:*",
    "tenant:*",
    "usage:*",
    "bucket:*",
    "runnable:*",
    "slots:*",
    "lapsed:*",
    "key:*",
    "active",
    "vtime",
    "webhooks*",
    "schedules*",
)

_SCAN_COUNT = 1000


@dataclass(frozen=True, kw_only=True)
class RestoredPart:
    """A part that lies in the store, and what its header says."""

    rows: RowRange
    token: str
    results: int
    errors: int
    usage: Usage
    device_ms: int


class Replaced(Unavailable):
    """Somebody else restores this, with a newer lock."""


class RestoreTable:
    """Restoring, one job at a time.

    Args:
        client: the connection.
        now: the time in ms, for tests; Redis's own clock otherwise.
    """

    def __init__(self, client: LedgerClient, now: int | None = None) -> None:
        self._client = client
        self._now: Argument = "" if now is None else now

    # --- a job -------------------------------------------------------------------------------------

    def begin(
        self, job_id: str, token: str, tenant: str, created_at: int, fields: Sequence[Argument]
    ) -> Status:
        """Forget what is known of a job and enter its record; of a job that has ended that is all.

        Args:
            job_id: the job.
            token: the restorer's own; of a whole rebuild, that of its lock.
            tenant: whose it is.
            created_at: ms.
            fields: names and values of the record, one after the other.
        """
        return Status(
            self._client.call(
                "restore_begin", job_id, token, _GRACE_MS, self._now, tenant, created_at, *fields
            )
        )

    def enter(
        self, job_id: str, token: str, planned: RowRange, parts: Iterable[RestoredPart]
    ) -> int:
        """Enter a planned range with its parts, in order and without overlap; how many rows are left to do.

        Raises:
            Replaced: somebody else restores this job.
        """
        flat: list[Argument] = []
        for part in parts:
            usage = part.usage
            flat += [str(part.rows), part.token, part.results, part.errors]
            flat += [usage.input_tokens, usage.output_tokens, part.device_ms]
        left = self._client.call("restore_range", job_id, token, self._now, str(planned), *flat)
        if left < 0:
            raise Replaced(f"somebody else is restoring {job_id}")
        return int(left)

    def end(
        self, job_id: str, token: str, *, rows: int | None, warnings: str, cancelled: bool
    ) -> Status:
        """Let the job go on.

        Args:
            job_id: the job.
            token: as given to :meth:`begin`.
            rows: rows planned in this generation; None when planning had not ended.
            warnings: of planning, as a JSON list.
            cancelled: whether it is to be cancelled.

        Raises:
            Replaced: somebody else restores this job.
        """
        planned = "" if rows is None else rows
        cancel = "1" if cancelled else ""
        status = self._client.call(
            "restore_end", job_id, token, planned, warnings, cancel, self._now
        )
        if not status:
            raise Replaced(f"somebody else is restoring {job_id}")
        return Status(status)

    # --- the whole ledger -----------------------------------------------------------------------------

    def lock(self, token: str) -> bool:
        """Become the one that builds the ledger; False while somebody else is."""
        with ledger_faults():
            return bool(self._client.redis.set("ledger:rebuild", token, nx=True, px=REBUILD_MS))

    def renew(self, token: str) -> bool:
        """Go on being it; False when the lock is gone, and with it perhaps what was built under it."""
        with ledger_faults():
            redis = self._client.redis
            return redis.get("ledger:rebuild") == token and bool(
                redis.pexpire("ledger:rebuild", REBUILD_MS)
            )

    def unlock(self, token: str) -> None:
        """Let go of the lock, where it is still one's own."""
        with ledger_faults():
            if self._client.redis.get("ledger:rebuild") == token:
                self._client.redis.delete("ledger:rebuild")

    def clear(self, token: str) -> None:
        """Drop what a ledger without an epoch may still hold.

        Raises:
            Replaced: the lock was lost meanwhile; what is there now is another's.
        """
        with ledger_faults():
            redis = self._client.redis
            for pattern in _LEFTOVERS:
                names = redis.scan_iter(match=pattern, count=_SCAN_COUNT)
                while batch := list(islice(names, _SCAN_COUNT)):
                    if not self._client.call("rebuild_clear", token, *batch):
                        raise Replaced("somebody else is building the ledger")

    def complete(self, token: str, epoch: str) -> None:
        """Say that the ledger is whole.

        Raises:
            Replaced: the lock was lost meanwhile.
        """
        if not self._client.call("rebuild_end", token, epoch):
            raise Replaced("somebody else is building the ledger")
