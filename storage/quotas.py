"""Quotas: room is made for what comes before anything of it is written."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Self, cast

import structlog

from jobs.errors import QuotaExceeded, Unavailable
from jobs.ids import new_token
from storage.ledger import Ledger
from storage.ledger.accounts import UsedUp, until_tomorrow

log = structlog.get_logger(__name__)

#: Bytes of an upload for which room is made at once.
PIECE_BYTES = 8 << 20

#: Seconds after which a refused call may find room: jobs end all the time.
_RETRY_SECONDS = 30

_REASONS = {
    "rows_queued": "too many rows of the tenant wait to be computed",
    "jobs_unfinished": "too many jobs of the tenant have not ended",
    "bytes_stored": "the tenant's files, jobs and schedules take too much room; delete some",
    "device_seconds_per_day": "the tenant's device-seconds of today are used up; a new day begins at 00:00 UTC",
}


def refusal(found: UsedUp) -> QuotaExceeded:
    """The error of a quota that leaves no room."""
    daily = found.quota == "device_seconds_per_day"
    return QuotaExceeded.of(
        found.quota,
        _REASONS[found.quota],
        used=found.used,
        limit=found.limit,
        retry_after=until_tomorrow(found.now) if daily else _RETRY_SECONDS,
    )


def require_room(
    ledger: Ledger, job_id: str, tenant: str, rows: int | None, *, retry: bool = False
) -> int:
    """Make room for a job, which lapses unless the job is entered soon; the time in ms.

    Args:
        ledger: what knows.
        job_id: the job. One that is known is no new one and needs no room.
        tenant: whose it is.
        rows: how many rows it brings, where that is known.
        retry: whether an ended job is to go on.

    Raises:
        QuotaExceeded: there is none.
        Unavailable: the ledger cannot say.
    """
    now, found = ledger.accounts.reserve(job_id, tenant, rows, retry=retry)
    if found is not None:
        raise refusal(found)
    return now


def require_stored_room(ledger: Ledger, tenant: str, size: int | None) -> None:
    """Refuse what is only announced, and counted when it comes, where there is no room for it now.

    Args:
        ledger: what knows.
        tenant: whose it will be.
        size: its bytes, where they are known.

    Raises:
        QuotaExceeded: there is none.
        Unavailable: the ledger cannot say.
    """
    with Arriving(ledger, tenant) as room:
        room.expect(size or 1)


def count_stored(ledger: Ledger, tenant: str, size: int, *, upload: str = "") -> None:
    """Count bytes that were put into the store for a tenant, or (less than 0) taken out.

    Where the ledger is away they are counted later, when the scheduler lists what there is.
    """
    try:
        ledger.accounts.stored(tenant, size, upload)
    except Unavailable as error:
        log.warning("bytes not counted", tenant=tenant, bytes=size, reason=error.detail)


class Arriving:
    """The bytes of one upload, counted against the tenant's quota as they arrive.

    Used as a context: the room that was made is given back at its end, unless :meth:`keep` was called.
    """

    def __init__(self, ledger: Ledger, tenant: str) -> None:
        self._ledger = ledger
        self._accounts = ledger.accounts
        self._tenant = tenant
        self._token = new_token()
        self._room = 0  #: bytes for which there is room
        self._limited = True
        self._kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._kept or not self._limited or not self._room:
            return
        try:
            self._accounts.stored(self._tenant, 0, self._token)
        except Unavailable:
            return  # it lapses

    def expect(self, size: int) -> None:
        """Make room for so many bytes in all.

        Raises:
            QuotaExceeded: there is none.
            Unavailable: the ledger cannot say.
        """
        if not self._limited or size <= self._room:
            return
        # A piece at once, so as not to ask for each read; near the quota's end what it is, to the byte.
        wanted = -(-size // PIECE_BYTES) * PIECE_BYTES
        found = self._accounts.arrive(self._tenant, self._token, wanted)
        if isinstance(found, UsedUp):
            wanted = size
            found = self._accounts.arrive(self._tenant, self._token, wanted)
        if isinstance(found, UsedUp):
            raise refusal(found)
        self._limited, self._room = found, wanted

    def watch(self, stream: BinaryIO) -> BinaryIO:
        """The stream, for whose bytes room is made as they are read.

        Its reads raise, beside its own errors:
            QuotaExceeded: there is no room for more.
            Unavailable: the ledger cannot say.
        """
        return cast(BinaryIO, _Watched(stream, self.expect))

    def keep(self, size: int) -> None:
        """Say that so many bytes have come to stay."""
        self._kept = True
        count_stored(self._ledger, self._tenant, size, upload=self._token)


class _Watched:
    def __init__(self, stream: BinaryIO, expect: Callable[[int], None]) -> None:
        self._stream = stream
        self._expect = expect
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._count += len(data)
        self._expect(self._count)
        return data
