"""What the sync and the async transport share: requests to build, answers and failures to judge. Opens nothing."""

from __future__ import annotations

import json
import logging
import ssl
import time
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from textmill.call import Call, Reply
from textmill.config import Config
from textmill.errors import ApiError, ConfigError, ConnectionFailed
from textmill.problem import MAX_ERROR_BYTES, to_error
from textmill.retry import RetryPolicy, status_allows_retry
from textmill.version import __version__

_log = logging.getLogger("textmill")

#: Failures that happen before a single byte of the request has left.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
#: Failures that the same request would meet again.
_POINTLESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)

#: How answers may be packed.
_ENCODING = "gzip"

_CONNECT_SECONDS = 10.0
#: Seconds that a try gets at least, however little time is left.
_LEAST_SECONDS = 1.0
#: Seconds for which the body of an error is read.
_ERROR_SECONDS = 10.0
#: Bytes of a JSON answer at most; files and results are streamed and may be of any size.
MAX_REPLY_BYTES = 64 << 20

#: Connections to one server at most, and those kept open while nothing is asked.
MAX_CONNECTIONS, IDLE_CONNECTIONS = 500, 20


class Exchange:
    """How one server is talked to."""

    def __init__(self, config: Config, *, timeout: float, policy: RetryPolicy) -> None:
        self.url = config.url
        self.policy = policy
        self._timeout = timeout
        self._key = config.api_key

    def client_options(self) -> dict[str, Any]:
        """Arguments of ``httpx.Client`` and ``httpx.AsyncClient``.

        Raises:
            ConfigError: the server's URL is none.
        """
        try:
            base = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"not a server's URL: {self.url!r} ({error})") from error
        parts = urlsplit(self.url)
        return {
            "base_url": base,
            # Nothing is ever encrypted on plain HTTP: no need to read 150 authorities' certificates.
            "verify": parts.scheme != "http",
            "headers": {
                "Authorization": f"Bearer {self._key}",
                "Accept": "application/json",
                "Accept-Encoding": _ENCODING,
                "User-Agent": f"textmill/{__version__}",
            },
            # The key is for this server alone: wherever an answer points to is told, never gone to.
            "follow_redirects": False,
            # A proxy for the outside world cannot reach this machine's own loopback.
            "trust_env": parts.hostname not in ("localhost", "127.0.0.1", "::1"),
            "limits": httpx.Limits(
                max_connections=MAX_CONNECTIONS, max_keepalive_connections=IDLE_CONNECTIONS
            ),
        }

    def request_options(self, call: Call, size: int | None) -> dict[str, Any]:
        """Arguments of ``build_request``.

        Args:
            size: bytes of a body that is streamed, where known.
        """
        headers = dict(call.headers)
        if size is not None:
            headers["Content-Length"] = str(size)
        seconds, connect = self._timeout + call.extra_seconds, _CONNECT_SECONDS
        if call.within is not None:
            least = max(_LEAST_SECONDS, call.within)
            seconds, connect = min(seconds, least), min(connect, least)
        return {
            "method": call.method,
            "url": call.path,
            "params": dict(call.query) or None,
            "headers": headers,
            "json": None if call.body is None else dict(call.body),
            "timeout": httpx.Timeout(seconds, connect=connect),
        }

    def reply_body(self, response: httpx.Response) -> Gathered:
        """Takes the body of a JSON answer."""
        return Gathered(response, MAX_REPLY_BYTES, self.policy.total_seconds)

    def reply(self, response: httpx.Response, gathered: Gathered) -> Reply:
        """An answer that has arrived.

        Raises:
            ApiError: it is no JSON.
        """
        headers = {name.lower(): value for name, value in response.headers.items()}
        status = response.status_code
        if gathered.full:
            detail = f"the answer of {self.url} is longer than {MAX_REPLY_BYTES:,} bytes or took too long"
            raise ApiError(detail, status=status, code="unexpected_reply", headers=headers)
        if not gathered.content:
            return Reply(status=status, headers=headers, body=None)
        try:
            body = json.loads(gathered.content)
        except (ValueError, RecursionError):
            raise self._no_json(status, headers) from None
        return Reply(status=status, headers=headers, body=body)

    def _no_json(self, status: int, headers: Mapping[str, str]) -> ApiError:
        kind = headers.get("content-type", "")
        if "json" in kind:
            detail, code = f"the answer of {self.url} is broken off or damaged JSON", "broken_reply"
        else:
            found = kind or "something else"
            detail = f"expected JSON from {self.url}, found {found}: is this a Textmill server?"
            code = "unexpected_reply"
        return ApiError(detail, status=status, code=code, headers=headers)

    def failure(self, error: httpx.RequestError) -> ConnectionFailed:
        """A broken connection as this client's error."""
        words: dict[type[httpx.RequestError], str] = {
            httpx.ConnectError: "cannot connect",
            httpx.ConnectTimeout: "connecting took too long",
            httpx.ReadTimeout: "no answer in time",
            httpx.WriteTimeout: "the server stopped taking data",
            httpx.PoolTimeout: "too many calls at once: none of their connections became free",
            httpx.RemoteProtocolError: "the server closed the connection",
            httpx.DecodingError: "the answer cannot be unpacked",
        }
        what = words.get(type(error), "the connection broke")
        hint = "Is the server up, and is the URL right? `textmill doctor` checks both."
        if _is_untrusted(error):
            hint = (
                "The server's certificate is not trusted here. Set SSL_CERT_FILE to the certificate of the "
                "authority that signed it, or correct the URL."
            )
        return ConnectionFailed(
            f"{what}: {self.url} ({error or type(error).__name__})",
            hint=hint,
            lasting=isinstance(error, _POINTLESS) or _is_untrusted(error),
        )


def is_good(response: httpx.Response) -> bool:
    """Whether an answer is a success, or says that nothing has changed."""
    return response.is_success or response.status_code == 304


def error_body(response: httpx.Response) -> Gathered:
    """Takes the beginning of an error's body."""
    return Gathered(response, MAX_ERROR_BYTES, _ERROR_SECONDS)


def refusal(response: httpx.Response, gathered: Gathered | None) -> ApiError:
    """An answer that is no success, as this client's error."""
    content = b"" if gathered is None else gathered.content
    return to_error(response.status_code, response.headers, content)


class Gathered:
    """A body that arrives piece by piece, unpacked within bounds of size and time."""

    def __init__(self, response: httpx.Response, limit: int, seconds: float) -> None:
        """
        Raises:
            httpx.DecodingError: it is packed in a way that was not asked for.
        """
        self._limit = limit
        self._until = time.monotonic() + seconds
        self._buffer = bytearray()
        self._unpacker = _unpacker(response.headers.get("content-encoding", "identity"))
        self.full = False  #: whether there was more than it may be

    @property
    def content(self) -> bytes:
        """What has arrived, as far as it was taken."""
        return bytes(self._buffer)

    def take(self, chunk: bytes) -> bool:
        """Keep a piece. Returns whether the next one is wanted.

        Raises:
            httpx.DecodingError: it cannot be unpacked.
        """
        room = self._limit - len(self._buffer)
        if self._unpacker is not None:
            try:
                # Bounded here, as httpx's own unpacking is not: a thousand bytes may stand for a million.
                chunk = self._unpacker.decompress(chunk, room)
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from error
        self._buffer += chunk[:room]
        self.full = len(self._buffer) >= self._limit or time.monotonic() >= self._until
        return not self.full


def _unpacker(encoding: str) -> zlib._Decompress | None:
    if encoding.lower() == "identity":
        return None
    if encoding.lower() != _ENCODING:
        raise httpx.DecodingError(f"packed as {encoding}, not as {_ENCODING}")
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)


class Tries:
    """All tries of one call: after each that failed it says how long to pause, or that it was the last."""

    def __init__(self, exchange: Exchange, call: Call, *, streamed: bool) -> None:
        """
        Args:
            streamed: whether a body is sent along that may take any time.
        """
        self._exchange = exchange
        self._call = call
        bound = exchange.policy.total_seconds if call.within is None else call.within
        self._until = float("inf") if streamed else time.monotonic() + bound
        self._count = 0

    def failed(self, error: httpx.RequestError | ApiError, *, can_restart: bool = True) -> float:
        """Seconds to sleep before the next try.

        Args:
            can_restart: whether the body can be given once more.

        Raises:
            ApiError: the server answered so, and asking again would not help.
            ConnectionFailed: likewise, without an answer.
        """
        self._count += 1
        call, retry_after = self._call, None
        failure: ApiError | ConnectionFailed
        if isinstance(error, ApiError):
            failure, retry_after = error, error.retry_after
            allowed = status_allows_retry(error.status, idempotent=call.repeatable)
            allowed = allowed or (call.repeatable and error.code == "broken_reply")
        else:
            failure = self._exchange.failure(error)
            allowed = call.repeatable or isinstance(error, _NEVER_SENT)
            allowed = allowed and not failure.lasting
        pause = None
        if allowed and can_restart:
            pause = self._exchange.policy.pause(self._count, retry_after)
        if pause is None or time.monotonic() + pause > self._until:
            if failure is error:
                raise failure
            raise failure from error
        _log.info(
            "%s %s failed (%s); next try in %.1f s", call.method, call.path, failure.detail, pause
        )
        return pause


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether a connection failed because of the server's certificate."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
