"""A download that goes on where it broke off: what to ask, and what of an answer is new. Opens nothing."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from textmill.call import Call
from textmill.errors import ApiError, TransferFailed
from textmill.retry import RetryPolicy


class Download:
    """One download over as many answers as it takes."""

    def __init__(self, call: Call, policy: RetryPolicy, *, resumable: bool) -> None:
        """
        Args:
            resumable: whether the server's bytes stay the same from one call to the next. When not, only a
                download that has given nothing yet is started again.
        """
        # Compressed transfer would make byte positions meaningless.
        self._call = call.with_headers(Accept="*/*", Accept_Encoding="identity")
        self._policy = policy
        self._resumable = resumable
        self._received = 0
        self._skip = 0
        self._failures = 0
        self._first: httpx.Headers | None = None

    def request(self) -> Call:
        """What to ask for now."""
        if not self._received:
            return self._call
        return self._call.with_headers(Range=f"bytes={self._received}-")

    def opened(self, response: httpx.Response) -> None:
        """Take the head of an answer.

        Raises:
            TransferFailed: it does not continue the first one.
        """
        if self._first is None or not self._received:
            self._first, self._skip = response.headers, 0
            return
        self._skip = self._to_skip(response, self._first)

    def take(self, chunk: bytes) -> bytes:
        """What of a piece was not received before."""
        piece = chunk[self._skip :]
        self._skip -= len(chunk) - len(piece)
        if piece:
            self._failures = 0
            self._received += len(piece)
        return piece

    def broke(self) -> float | None:
        """Seconds to sleep before going on after a broken connection; None to give up."""
        self._failures += 1
        if self._received and not self._resumable:
            return None
        return self._policy.pause(self._failures)

    def is_over(self, error: ApiError) -> bool:
        """Whether an error only says that nothing is left: it broke off right after the last byte."""
        return (
            error.status == 416 and bool(self._received) and _total(error.headers) == self._received
        )

    def _to_skip(self, response: httpx.Response, first: httpx.Headers) -> int:
        changed = TransferFailed(
            "the content changed on the server during the download; start again"
        )
        if response.headers.get("etag") != first.get("etag"):
            raise changed
        if response.status_code != 206:
            # No Range here. Without an ETag nothing shows that these are the same bytes.
            if "etag" not in first:
                raise TransferFailed("the server cannot continue a broken download; start again")
            return self._received
        start = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
        total, length = _total(response.headers), first.get("content-length")
        if start != str(self._received) or (length and total is not None and total != int(length)):
            raise changed
        return 0


def _total(headers: Mapping[str, str]) -> int | None:
    """The whole size that a ``Content-Range`` names (RFC 9110, 14.4)."""
    total = headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None
