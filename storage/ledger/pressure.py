"""How full Redis is. Ledger and broker share its limit, whatever their database numbers."""

from __future__ import annotations

import threading
import time
from typing import cast

from jobs.errors import Unavailable
from storage.ledger.scripts import LedgerClient, ledger_faults

#: Share of ``maxmemory`` from which on nothing new is taken in: what runs must be able to end.
FULL_SHARE = 0.85

#: Seconds for which a measurement is believed, and after which a refused caller may try again.
_BELIEVED_SECONDS = 1.0
_RETRY_SECONDS = 15


class Pressure:
    """Refuses new work while Redis is nearly full."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._measured_at = float("-inf")
        self._share = 0.0

    def share(self) -> float:
        """Memory in use as a share of ``maxmemory``, at most a second old; 0 where there is no limit.

        Raises:
            Unavailable: Redis is away.
        """
        with self._lock:
            if time.monotonic() - self._measured_at > _BELIEVED_SECONDS:
                with ledger_faults():
                    info = cast("dict[str, int]", self._client.redis.info("memory"))
                limit = info.get("maxmemory", 0)
                self._share = info["used_memory"] / limit if limit else 0.0
                self._measured_at = time.monotonic()
            return self._share

    def require_room(self) -> None:
        """Check that there is room for more, and that Redis takes writes: its disk may be full too.

        Raises:
            Unavailable: there is not, it does not, or Redis is away.
        """
        share = self.share()
        if share >= FULL_SHARE:
            raise Unavailable(
                f"Redis is {share:.0%} full; nothing new is taken in from {FULL_SHARE:.0%} on",
                retry_after=_RETRY_SECONDS,
            )
        with ledger_faults():
            self._client.redis.set("ledger:probe", "", px=1)
