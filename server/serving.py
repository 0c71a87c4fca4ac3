"""gunicorn's gevent worker as the API needs it: no client may be slow at the cost of others, and an end is quick."""

from __future__ import annotations

import contextlib
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, cast

import gevent
import orjson
from flask import Flask
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.http import errors
from gunicorn.sock import ssl_context
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from api.problems import TYPE_BASE
from api.services import services_of
from jobs.settings import Settings
from server.bodies import ArrivingBody

#: Seconds within which a request's head must be there, and after which a connection that is not used is closed.
HEAD_SECONDS = 10

#: Seconds within which a client must take the piece of an answer (at most 1 MiB) that it was sent.
_TAKE_SECONDS = 120.0

#: Seconds between two looks at whether this process is to end.
_LOOK_SECONDS = 0.2

#: What is told of heads that gunicorn refuses; all others are 400.
_STATUSES: dict[type[Exception], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
    errors.ForbiddenProxyRequest: 403,
}


class ApiWorker(GeventWorker):
    """One API process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: set[gevent.Greenlet] = set()
        self._tls = ssl_context(self.cfg) if self.cfg.is_ssl else None
        self._settings: Settings

    # --- life ------------------------------------------------------------------------------------

    def run(self) -> None:
        application = cast(Flask, self.wsgi)
        self._settings = services_of(application).settings
        self.wsgi = partial(_answer, application)
        servers = [self._serve(listener) for listener in self.sockets]
        while self.alive:
            self.notify()
            gevent.sleep(_LOOK_SECONDS)
        for server in servers:
            server.close()
        # Whoever waits is answered as things are; whoever has asked for nothing is left.
        services_of(application).changes.close()
        # A request whose head has come, but was not read yet, is none of those.
        gevent.sleep(_LOOK_SECONDS)
        gevent.killall(list(self._idle), block=False)
        with gevent.Timeout(self.cfg.graceful_timeout, False):
            while any(server.pool for server in servers):
                self.notify()
                gevent.sleep(0.02)
            return
        self.log.warning(
            "requests were still running %s s after the stop", self.cfg.graceful_timeout
        )
        for server in servers:
            server.stop(timeout=1)

    def _serve(self, listener: Any) -> StreamServer:
        listener.setblocking(1)
        # TLS is not its business: a handshake must not take a connection for longer than a head may.
        server = StreamServer(
            listener, handle=partial(self.handle, listener), spawn=Pool(self.worker_connections)
        )
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server

    # --- connections -----------------------------------------------------------------------------

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        client.settimeout(_TAKE_SECONDS)
        if self._tls is not None:
            secured = None
            with contextlib.suppress(OSError), self.timeout_ctx():
                secured = self._tls.wrap_socket(client, server_side=True)
            if secured is None:
                # No TLS, or too slow: nobody that an answer would reach.
                client.close()
                return
            client = secured
        AsyncWorker.handle(self, listener, client, addr)

    def timeout_ctx(self) -> _Idle:  # type: ignore[override]  # gunicorn enters what its stubs call None
        """Around the wait for a request's head."""
        return _Idle(self._idle)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        req.body = ArrivingBody(req, sock, self._settings.api_body_silence_seconds)
        answer = _JoinedSends(sock)
        try:
            return bool(super().handle_request(listener_name, req, answer, addr))
        except TimeoutError:
            self.log.debug("a client took nothing of its answer for %s s", _TAKE_SECONDS)
            raise StopIteration from None
        finally:
            # Also after the last answer of a connection, which gunicorn ends by an exception.
            answer.flush()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Refuse what is no request, as everything else is refused."""
        if isinstance(exc, gevent.GreenletExit):
            return
        # A header that the application tried to send is of the same family, and a fault of ours.
        ours = type(exc).__name__.startswith("InvalidResponse")
        if ours or not isinstance(exc, errors.ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status = HTTPStatus(_STATUSES.get(type(exc), 400))
        with contextlib.suppress(OSError):
            client.sendall(_refusal(status, str(exc)))


class _JoinedSends:
    """A connection that sends the head of an answer of known length together with the beginning of its body.

    gunicorn sends each by itself, which costs server and client a system call and a wake-up more.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._head = b""

    def sendall(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if not head and data.startswith(b"HTTP/1.") and b"\r\nContent-Length: " in data:
            self._head = data
        else:
            self._connection.sendall(head + data if head else data)

    def flush(self) -> None:
        """Send a head that no body follows."""
        head, self._head = self._head, b""
        if head:
            with contextlib.suppress(OSError):  # who has gone is noticed when he is listened to
                self._connection.sendall(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Idle:
    """A time in which a connection owes a head. Ends it by itself when that does not come."""

    def __init__(self, idle: set[gevent.Greenlet]) -> None:
        self._idle = idle
        self._timeout = gevent.Timeout(HEAD_SECONDS, False)

    def __enter__(self) -> None:
        self._idle.add(gevent.getcurrent())
        self._timeout.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._timeout.close()
        self._idle.discard(gevent.getcurrent())
        return error is self._timeout


def _answer(application: Any, environ: dict[str, Any], start_response: Any) -> Any:
    """The application's answer; what it has not read of the body is read before it is sent.

    gunicorn closes a connection with an unread body without having said so: a client that is still sending would
    lose the answer, and one that keeps connections open its next request.
    """
    answer = application(environ, start_response)
    try:
        environ["wsgi.input"].drain()
    except BaseException:
        if hasattr(answer, "close"):
            answer.close()
        raise
    return answer


def _refusal(status: HTTPStatus, detail: str) -> bytes:
    body = orjson.dumps(
        {
            "type": TYPE_BASE + "malformed_request",
            "title": status.phrase,
            "status": status.value,
            "code": "malformed_request",
            "detail": detail.encode("ascii", "replace").decode()[:200],
            "errors": [],
            "request_id": None,
        }
    )
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
