"""Whether and when a failed call is tried again. Pure decisions; the transport sleeps."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

#: Statuses after which the server says, or promises, that nothing was changed.
_UNTOUCHED = frozenset({429, 503})
#: Statuses of a gateway that does not know what became of the request.
_UNKNOWN = frozenset({502, 504})

_RANDOM = random.SystemRandom()


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    The pause before attempt ``n + 1`` is drawn evenly from 0 to ``base_seconds * 2**(n-1)``, as in
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
    """

    attempts: int = 6  #: tries in all, the first included; 1 means never again
    base_seconds: float = 0.5  #: upper bound of the first pause
    max_seconds: float = 8.0  #: upper bound of any pause
    max_retry_after: float = 60.0  #: a server that asks for a longer pause gets no further try
    #: No further try begins later than this after the first, and no answer is read for longer. Uploads, which take
    #: as long as they take, are bound by ``attempts`` alone.
    total_seconds: float = 120.0
    outage_seconds: float = 300.0  #: how long waiting for a job bears a server that does not answer

    def pause(
        self,
        attempt: int,
        retry_after: float | None = None,
        *,
        draw: Callable[[float, float], float] = _RANDOM.uniform,
    ) -> float | None:
        """Seconds to sleep after failed try number ``attempt`` (from 1), or None to give up.

        A server's ``Retry-After`` is a lower bound; the jitter is added to it, so that clients that were sent
        away together do not come back together.
        """
        if attempt >= self.attempts:
            return None
        jitter = draw(0.0, min(self.max_seconds, self.base_seconds * 2.0 ** (attempt - 1)))
        if retry_after is None:
            return jitter
        return retry_after + jitter if retry_after <= self.max_retry_after else None


def status_allows_retry(status: int, *, idempotent: bool) -> bool:
    """Whether an answer with this status may be followed by the same call again."""
    return status in _UNTOUCHED or (idempotent and status in _UNKNOWN)


def parse_retry_after(
    value: str | None, now: datetime | None = None, *, date: str | None = None
) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number or an HTTP date (RFC 9110, 10.2.3).

    Args:
        now: instead of this machine's time.
        date: the answer's ``Date``. A date to come again at is measured against it, so that it does not matter
            how far apart the two machines' clocks are.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        moment = _date(value)
        if moment is None:
            return None
        current = now or _date(date) or datetime.now(timezone.utc)
        seconds = (moment - current).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
