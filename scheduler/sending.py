"""One attempt to post an event: the name is resolved once, every address checked, and that very address connected to.

A stranger's webhook must never reach this network's inside: no redirect is followed, no proxy used, and nothing of an
answer but its status goes any further.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from queue import Empty, SimpleQueue

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from jobs.addresses import Address, Network, is_reachable
from jobs.webhooks import Target

#: Most bytes of an answer that are read; nothing is done with them, but a receiver may want to see them taken.
ANSWER_BYTES = 16 << 10

_READ_BYTES = 4 << 10

#: Addresses of a name that are tried one after the other.
_MOST_ADDRESSES = 4

_USER_AGENT = "Textmill-Webhooks/1"

#: From a name to its addresses. May raise OSError.
Resolve = Callable[[str], Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a receiver answered, or why there is no answer."""

    status: int | None = None
    error: str | None = None  #: code
    retry_after: float | None = None  #: seconds, where the receiver said so


class _NotSent(Exception):
    """There was no answer; the argument is the code."""


def resolve(host: str) -> list[str]:
    """The addresses of a name, as this machine's resolver gives them."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Sender:
    """Makes attempts. Safe to use by several threads.

    Args:
        seconds: that an attempt may take, all in all.
        allow_http: whether anything goes out without TLS.
        allowed: networks that are let through although they are not public.
        resolve: from names to addresses.
        tls: whose certificates are trusted; by default the system's.
    """

    def __init__(
        self,
        *,
        seconds: float,
        allow_http: bool = False,
        allowed: Sequence[Network] = (),
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._seconds = seconds
        self._allow_http = allow_http
        self._allowed = tuple(allowed)
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()

    def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post a body. Never raises for what the other side does."""
        deadline = time.monotonic() + self._seconds
        try:
            addresses = self._addresses(target, deadline)
            return self._post(target, addresses, body, headers, deadline)
        except _NotSent as error:
            return Reply(error=str(error))

    # --- where to ------------------------------------------------------------------------------------

    def _addresses(self, target: Target, deadline: float) -> list[Address]:
        """All addresses of a target, each of them one that may be connected to.

        Raises:
            _NotSent: there is none, or one of them may not.
        """
        if target.scheme != "https" and not self._allow_http:
            raise _NotSent("target_forbidden")
        literal = target.literal
        addresses = [literal] if literal is not None else self._looked_up(target.host, deadline)
        if not addresses:
            raise _NotSent("name_unknown")
        # One that is inside condemns all: whoever names it among others means it.
        if not all(is_reachable(address, self._allowed) for address in addresses):
            raise _NotSent("target_forbidden")
        return addresses[:_MOST_ADDRESSES]

    def _looked_up(self, host: str, deadline: float) -> list[Address]:
        # A resolver may take as long as it likes, so it is not waited for longer than there is time.
        answer: SimpleQueue[Sequence[str] | OSError | UnicodeError] = SimpleQueue()

        def ask() -> None:
            try:
                answer.put(self._resolve(host))
            except (OSError, UnicodeError) as error:
                answer.put(error)

        threading.Thread(target=ask, name="resolve", daemon=True).start()
        try:
            found = answer.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise _NotSent("timeout") from None
        if isinstance(found, OSError | UnicodeError):
            raise _NotSent("name_unknown") from found
        try:
            return [ipaddress.ip_address(text) for text in found]
        except ValueError:
            raise _NotSent("target_forbidden") from None  # with a zone: this very link

    # --- there ---------------------------------------------------------------------------------------

    def _post(
        self,
        target: Target,
        addresses: Sequence[Address],
        body: bytes,
        headers: Mapping[str, str],
        deadline: float,
    ) -> Reply:
        connection = self._connected(target, addresses, deadline)
        try:
            with _cut_off(connection, deadline):
                connection.request(
                    "POST",
                    target.path,
                    body,
                    {
                        **headers,
                        "Host": target.host_header,
                        "Content-Type": "application/json",
                        "Content-Length": str(len(body)),
                        "User-Agent": _USER_AGENT,
                        "Accept": "*/*",
                        "Accept-Encoding": "identity",
                        "Connection": "close",
                    },
                    preload_content=False,
                    decode_content=False,
                    enforce_content_length=False,
                )
                answer = connection.getresponse()
                if time.monotonic() >= deadline:
                    # Headers that were cut off look like headers that ended.
                    raise _NotSent("timeout")
                # The status counts as soon as it is there, however the rest comes.
                reply = Reply(
                    status=answer.status,
                    retry_after=_retry_after(answer.headers.get("Retry-After")),
                )
                with suppress(urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError):
                    _drain(answer)
                return reply
        except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            raise _NotSent(_code(error, deadline)) from error
        finally:
            connection.close()

    def _connected(
        self, target: Target, addresses: Sequence[Address], deadline: float
    ) -> HTTPConnection:
        """A connection to the first of the addresses that takes one.

        Raises:
            _NotSent: none does, or its certificate is not right.
        """
        code = "timeout"
        for address in addresses:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            connection = self._connection(target, address, left)
            try:
                connection.connect()
            except (urllib3.exceptions.HTTPError, OSError) as error:
                connection.close()
                code = _code(error, deadline)
                if code == "tls_failed":
                    break
            else:
                return connection
        raise _NotSent(code)

    def _connection(self, target: Target, address: Address, seconds: float) -> HTTPConnection:
        if target.scheme == "http":
            return HTTPConnection(str(address), target.port, timeout=seconds)
        # The name goes into the handshake and is what the certificate must be of; the address alone is connected to.
        return _Secure(
            str(address),
            target.port,
            timeout=seconds,
            cert_reqs=ssl.CERT_REQUIRED,
            server_hostname=target.host,
            ssl_context=self._tls,
        )


class _Secure(HTTPSConnection):
    """A connection whose handshake has what is left of the time, and not all of it again."""

    def connect(self) -> None:
        self._deadline = time.monotonic() + float(self.timeout)  # type: ignore[arg-type]
        super().connect()

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        sock.settimeout(max(0.001, self._deadline - time.monotonic()))
        return sock


@contextmanager
def _cut_off(connection: HTTPConnection, deadline: float) -> Iterator[None]:
    """End a connection at a time, whatever trickles in: timeouts of sockets begin anew with each byte."""
    seconds = max(0.0, deadline - time.monotonic())
    end = threading.Timer(seconds, _shut_down, args=(connection.sock,))
    end.daemon = True
    end.start()
    try:
        yield
    finally:
        end.cancel()


def _shut_down(sock: socket.socket | None) -> None:
    with suppress(OSError):
        if sock is not None:
            # An SSLSocket's own would give up its encryption too, under the feet of whoever reads.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _drain(answer: urllib3.response.BaseHTTPResponse) -> None:
    taken = 0
    while taken < ANSWER_BYTES:
        piece = answer.read(min(_READ_BYTES, ANSWER_BYTES - taken), decode_content=False)
        if not piece:
            return
        taken += len(piece)


def _code(error: Exception, deadline: float) -> str:
    if time.monotonic() >= deadline:
        return "timeout"
    if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError) or isinstance(
        error.__cause__, ssl.SSLError
    ):
        return "tls_failed"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "connection_failed"  # which urllib3 counts among the timeouts
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return "timeout"
    return "bad_answer"


def _retry_after(value: str | None) -> float | None:
    """Seconds in a header ``Retry-After``, which holds such a number or a date; None where it makes no sense."""
    if value is None:
        return None
    if value.isascii() and value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
