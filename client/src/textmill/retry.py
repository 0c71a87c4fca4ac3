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


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = (moment - (now or datetime.now(timezone.utc))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
