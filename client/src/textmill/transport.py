"""Sends calls over HTTP, tries again where that is safe, and turns failures into this client's errors."""

from __future__ import annotations

import itertools
import json
import logging
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

from textmill.call import Call, Reply
from textmill.config import Config
from textmill.errors import ApiError, ConfigError, ConnectionFailed
from textmill.problem import MAX_ERROR_BYTES, to_error
from textmill.retry import RetryPolicy, status_allows_retry
from textmill.version import __version__

_log = logging.getLogger("textmill")

_T = TypeVar("_T")

#: Failures that happen before a single byte of the request has left.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
#: Failures that the same request would meet again.
_POINTLESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)

_CONNECT_SECONDS = 10.0


class Body(Protocol):
    """A request body that is produced while it is sent."""

    @property
    def size(self) -> int | None:
        """Bytes in all, where known beforehand."""

    @property
    def can_start(self) -> bool:
        """Whether :meth:`chunks` can still give the body from its beginning."""

    def chunks(self) -> Iterator[bytes]:
        """The body from its beginning."""


class Transport:
    """A connection pool to one server. Safe to use from several threads."""

    def __init__(self, config: Config, *, timeout: float, policy: RetryPolicy) -> None:
        """
        Args:
            timeout: seconds without any byte from the server after which a try has failed.
        """
        self.url = config.url
        self.policy = policy
        self._timeout = timeout
        host = urlsplit(config.url).hostname
        self._client = httpx.Client(
            base_url=_checked(config.url),
            headers={
                "Authorization": f"Bearer {config.api_key}",
                "Accept": "application/json",
                "User-Agent": f"textmill/{__version__}",
            },
            # A proxy for the outside world cannot reach this machine's own loopback.
            trust_env=host not in ("localhost", "127.0.0.1", "::1"),
        )
        # Jobs outlive the Textmill object that made them: connections close with their last user.
        self._closer = weakref.finalize(self, self._client.close)

    def close(self) -> None:
        """Close all connections. May be called twice."""
        self._closer()

    def send(self, call: Call, body: Body | None = None) -> Reply:
        """Send a call and read its whole JSON answer.

        Raises:
            ApiError: the server answered with an error.
            ConnectionFailed: there was no answer.
        """

        def once() -> Reply:
            response = self._open(call, body)
            try:
                content = response.read()
            finally:
                response.close()
            return self._reply(response, content)

        return self._with_retries(call, once, body)

    @contextmanager
    def stream(self, call: Call) -> Iterator[httpx.Response]:
        """Send a call and hand out the answer with its body unread.

        Failures while the body is read are httpx's own; whoever reads decides about them.
        """
        response = self._with_retries(call, lambda: self._open(call, None), None)
        try:
            yield response
        finally:
            response.close()

    def failure(self, error: httpx.RequestError) -> ConnectionFailed:
        """A broken connection as this client's error."""
        words: dict[type[httpx.RequestError], str] = {
            httpx.ConnectError: "cannot connect",
            httpx.ConnectTimeout: "connecting took too long",
            httpx.ReadTimeout: "no answer in time",
            httpx.WriteTimeout: "the server stopped taking data",
            httpx.RemoteProtocolError: "the server closed the connection",
        }
        what = words.get(type(error), "the connection broke")
        return ConnectionFailed(
            f"{what}: {self.url} ({error or type(error).__name__})",
            hint="Is the server up, and is the URL right? `textmill doctor` checks both.",
        )

    def _with_retries(self, call: Call, once: Callable[[], _T], body: Body | None) -> _T:
        for attempt in itertools.count(1):
            failure: ApiError | ConnectionFailed
            try:
                return once()
            except httpx.RequestError as error:
                failure = self.failure(error)
                failure.__cause__ = error
                allowed = call.repeatable or isinstance(error, _NEVER_SENT)
                allowed = allowed and not isinstance(error, _POINTLESS)
                retry_after = None
            except ApiError as error:
                failure = error
                allowed = status_allows_retry(error.status, idempotent=call.repeatable)
                retry_after = error.retry_after
            allowed = allowed and (body is None or body.can_start)
            pause = self.policy.pause(attempt, retry_after) if allowed else None
            if pause is None:
                raise failure
            _log.info(
                "%s %s failed (%s); next try in %.1f s",
                call.method,
                call.path,
                failure.detail,
                pause,
            )
            time.sleep(pause)
        raise AssertionError("unreachable: the loop returns or raises")

    def _open(self, call: Call, body: Body | None) -> httpx.Response:
        """Send once; the answer is a success or 304, and its body is unread."""
        headers = dict(call.headers)
        if body is not None and body.size is not None:
            headers["Content-Length"] = str(body.size)
        request = self._client.build_request(
            call.method,
            call.path,
            params=dict(call.query) or None,
            headers=headers,
            json=None if call.body is None else dict(call.body),
            content=None if body is None else body.chunks(),
            timeout=httpx.Timeout(self._timeout + call.extra_seconds, connect=_CONNECT_SECONDS),
        )
        response = self._client.send(request, stream=True)
        if response.is_success or response.status_code == 304:
            return response
        try:
            text = bytearray()
            for chunk in response.iter_bytes(MAX_ERROR_BYTES):
                text += chunk
                if len(text) >= MAX_ERROR_BYTES:
                    break
        finally:
            response.close()
        raise to_error(response.status_code, response.headers, bytes(text))

    def _reply(self, response: httpx.Response, content: bytes) -> Reply:
        headers = {name.lower(): value for name, value in response.headers.items()}
        if not content:
            return Reply(status=response.status_code, headers=headers, body=None)
        try:
            body = json.loads(content)
        except ValueError:
            kind = headers.get("content-type", "something else")
            raise ApiError(
                f"expected JSON from {self.url}, found {kind}: is this a Textmill server?",
                status=response.status_code,
                code="unexpected_reply",
                headers=headers,
            ) from None
        return Reply(status=response.status_code, headers=headers, body=body)


def _checked(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"not a server's URL: {url!r} ({error})") from error
