"""Bodies of requests as they arrive: none may stop for long, and what nobody wanted is read to its end."""

from __future__ import annotations

import time
from typing import Any, Protocol

import gevent

from jobs.errors import BodyTooSlow, MalformedBody

#: Bytes after which a body that is read makes room for other requests: a fast sender would not let go by itself.
_FAIR_BYTES = 64 << 10

#: Most of a body that is read though its request was refused, in bytes and seconds.
_DRAIN_BYTES, _DRAIN_SECONDS = 64 << 20, 10.0


class Connection(Protocol):
    """What is needed of a request's socket."""

    def gettimeout(self) -> float | None: ...

    def settimeout(self, seconds: float | None, /) -> None: ...


class ArrivingBody:
    """A request's body, in place of gunicorn's.

    Args:
        request: gunicorn's, with the body that it would give.
        connection: where the body comes from.
        silence: seconds without a byte after which it is given up.
    """

    def __init__(self, request: Any, connection: Connection, silence: float) -> None:
        self._request = request
        self._body = request.body
        self._connection = connection
        self._silence = silence
        self._since_pause = 0
        self._left = _announced(request.headers)
        #: Whether it is unknown where the next request begins: gunicorn then closes the connection.
        self.failed = False

    def read(self, size: int | None = None) -> bytes:
        """As files have it; fewer bytes than asked for come only at the end.

        Raises:
            BodyTooSlow: nothing came for too long.
            MalformedBody: it ends before its end, or its chunks are broken.
        """
        return self._taken(self._body.read, size)

    def readline(self, size: int | None = None) -> bytes:
        """As files have it; raises what :meth:`read` does."""
        return self._taken(self._body.readline, size)

    def _taken(self, read: Any, size: int | None) -> bytes:
        if self.failed:
            return b""
        usual = self._connection.gettimeout()
        self._connection.settimeout(self._silence)
        try:
            data: bytes = read(size)
        except TimeoutError:
            self._fail()
            raise BodyTooSlow(f"nothing of the body came for {self._silence:g} s") from None
        except Exception as error:
            # The connection broke, or gunicorn cannot make sense of a chunk.
            self._fail()
            raise MalformedBody(f"the body cannot be read to its end: {error}") from error
        finally:
            self._connection.settimeout(usual)
        if self._left is not None:
            self._left -= len(data)
            if not data and size != 0 and self._left > 0:
                self._fail()
                raise MalformedBody(f"the body ends {self._left} bytes early")
        self._since_pause += len(data)
        if self._since_pause >= _FAIR_BYTES:
            self._since_pause = 0
            gevent.sleep(0)
        return data

    def drain(self) -> None:
        """Read what is left of it, so that a client that is still sending gets its answer, within limits."""
        if self._left == 0:
            return
        until = time.monotonic() + _DRAIN_SECONDS
        left = _DRAIN_BYTES
        while left > 0:
            data = None
            with gevent.Timeout(max(0.0, until - time.monotonic()), False):
                try:
                    data = self.read(min(left, 1 << 20))
                except (BodyTooSlow, MalformedBody):
                    return
            if data is None:
                break
            if not data:
                return
            left -= len(data)
        self._fail()

    def _fail(self) -> None:
        self.failed = True
        self._request.force_close()


def _announced(headers: list[tuple[str, str]]) -> int | None:
    """The body's length as its sender gave it; 0 where there is no body, None where it comes in chunks."""
    names = dict(headers)
    if "TRANSFER-ENCODING" in names:
        return None
    return int(names.get("CONTENT-LENGTH", 0))
