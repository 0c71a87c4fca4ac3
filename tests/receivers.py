"""Receivers of webhooks, as they are met outside: real sockets on loopback, good ones and others."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One request that a receiver took."""

    path: str
    headers: dict[str, str]  #: names in lower case
    body: bytes
    at: float = field(default_factory=time.monotonic)


Answering = Callable[["Receiver", Heard], "tuple[int, dict[str, str], bytes]"]


def ok(_receiver: Receiver, _heard: Heard) -> tuple[int, dict[str, str], bytes]:
    return 204, {}, b""


class Receiver:
    """An HTTP server that keeps what it hears and answers as it is told."""

    def __init__(self, answer: Answering = ok, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.heard: list[Heard] = []
        self.at_once = 0  #: requests that are being answered now
        self.most_at_once = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                heard = Heard(path=self.path, headers=headers, body=body)
                with receiver._lock:
                    receiver.heard.append(heard)
                    receiver.at_once += 1
                    receiver.most_at_once = max(receiver.most_at_once, receiver.at_once)
                try:
                    status, extra, answer = receiver.answer(receiver, heard)
                finally:
                    with receiver._lock:
                        receiver.at_once -= 1
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def raw(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port behind which each connection is served by a function, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
