"""Sends calls over HTTP, tries again where that is safe, and turns failures into this client's errors."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import httpx

from textmill.call import Ask, Call, Reply
from textmill.config import Config
from textmill.errors import ApiError, ConnectionFailed
from textmill.exchange import Exchange, Tries, error_body, is_good, refusal
from textmill.retry import RetryPolicy

_T = TypeVar("_T")


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
        self._exchange = Exchange(config, timeout=timeout, policy=policy)
        self._client = httpx.Client(**self._exchange.client_options())
        # Jobs outlive the Textmill object that made them: connections close with their last user.
        self._closer = weakref.finalize(self, self._client.close)

    def close(self) -> None:
        """Close all connections. May be called twice."""
        self._closer()

    def ask(self, asked: Ask[_T]) -> _T:
        """Send a call and read what it answers; see :meth:`send` for what is raised."""
        return asked.read(self.send(asked.call))

    def send(self, call: Call, body: Body | None = None) -> Reply:
        """Send a call and read its whole JSON answer.

        Raises:
            ApiError: the server answered with an error.
            ConnectionFailed: there was no answer.
        """

        def once() -> Reply:
            response = self._open(call, body)
            try:
                gathered = self._exchange.reply_body(response)
                for chunk in response.iter_raw():
                    if not gathered.take(chunk):
                        break
            finally:
                response.close()
            return self._exchange.reply(response, gathered)

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
        return self._exchange.failure(error)

    def _with_retries(self, call: Call, once: Callable[[], _T], body: Body | None) -> _T:
        tries = Tries(self._exchange, call, streamed=body is not None)
        while True:
            try:
                return once()
            except (httpx.RequestError, ApiError) as error:
                pause = tries.failed(error, can_restart=body is None or body.can_start)
            time.sleep(pause)

    def _open(self, call: Call, body: Body | None) -> httpx.Response:
        """Send once; the answer is a success or 304, and its body is unread."""
        request = self._client.build_request(
            **self._exchange.request_options(call, None if body is None else body.size),
            content=None if body is None else body.chunks(),
        )
        response = self._client.send(request, stream=True)
        if is_good(response):
            return response
        gathered = None
        try:
            # Its status says enough, should its body break off.
            with contextlib.suppress(httpx.RequestError):
                gathered = error_body(response)
                for chunk in response.iter_raw():
                    if not gathered.take(chunk):
                        break
        finally:
            response.close()
        raise refusal(response, gathered)
