"""The object store while connections break, and while there is no server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from jobs.errors import Unavailable
from jobs.settings import Settings
from storage.objects import STREAM_ATTEMPTS, ObjectChanged, ObjectStore

SIZE = 3 << 20


class CuttingProxy:
    """Passes connections on to a server, and cuts each of the first ``cuts`` after ``after`` bytes of answers."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.cuts = 0
        self.after = 1 << 20
        self.connections = 0
        self.on_cut: Callable[[], None] = lambda: None
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            left = self.after if self.cuts > 0 else None
            self.cuts -= 1
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            self._start(self._pass, client, server, None)
            self._start(self._pass, server, client, left)

    def _pass(self, source: socket.socket, target: socket.socket, left: int | None) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if left is not None:
                    data, left = data[:left], left - len(data)
                target.sendall(data)
                if left is not None and left <= 0:
                    self.on_cut()
                    break
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def proxy(settings_env: dict[str, str]) -> Iterator[CuttingProxy]:
    made = CuttingProxy(settings_env["TEXTMILL_S3_ENDPOINT"])
    yield made
    made.close()


@pytest.fixture
def cut_store(settings_env: dict[str, str], proxy: CuttingProxy) -> ObjectStore:
    """The same bucket, through the proxy."""
    environment = {**settings_env, "TEXTMILL_S3_ENDPOINT": proxy.url}
    return ObjectStore.connect(Settings.from_environment(environment))


@pytest.fixture
def data(store: ObjectStore) -> bytes:
    """The content of the object ``a``."""
    content = b"".join(number.to_bytes(4, "big") for number in range(SIZE // 4))
    store.put("a", content)
    return content


@pytest.mark.parametrize(("offset", "length"), [(0, None), (1000, None), (1000, SIZE - 5000)])
def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    cut_store: ObjectStore, proxy: CuttingProxy, data: bytes, offset: int, length: int | None
) -> None:
    proxy.cuts = 2
    got = b"".join(cut_store.stream("a", offset=offset, length=length))
    assert got == data[offset : None if length is None else offset + length]
    assert proxy.connections == 3


def test_a_download_that_always_breaks_off_is_given_up(
    cut_store: ObjectStore, proxy: CuttingProxy, data: bytes
) -> None:
    proxy.cuts, proxy.after = 100, 10_000
    with pytest.raises(Unavailable):
        cut_store.get("a")
    assert proxy.connections == STREAM_ATTEMPTS


def test_a_download_never_mixes_two_versions(
    store: ObjectStore, cut_store: ObjectStore, proxy: CuttingProxy, data: bytes
) -> None:
    proxy.cuts = 1
    proxy.on_cut = lambda: store.put("a", bytes(SIZE))
    with pytest.raises(ObjectChanged):
        cut_store.get("a")


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.get("a"),
        lambda store: store.put_once("a", b""),
        lambda store: list(store.list("a")),
        lambda store: store.ensure_bucket(),
        lambda store: store.probe(),
    ],
)
def test_a_server_that_is_down_is_unavailable_soon(use: Callable[[ObjectStore], object]) -> None:
    settings = Settings.from_environment(
        {
            "TEXTMILL_S3_ENDPOINT": "http://127.0.0.1:1",
            "TEXTMILL_S3_ACCESS_KEY": "key",
            "TEXTMILL_S3_SECRET_KEY": "secret",
        }
    )
    began = time.monotonic()
    with pytest.raises(Unavailable):
        use(ObjectStore.connect(settings))
    assert time.monotonic() - began < 10


def test_wrong_credentials_are_unavailable_and_not_told(settings_env: dict[str, str]) -> None:
    environment = {**settings_env, "TEXTMILL_S3_SECRET_KEY": "wrong-secret-of-the-test"}
    with pytest.raises(Unavailable) as caught:
        ObjectStore.connect(Settings.from_environment(environment)).get("a")
    assert "wrong-secret-of-the-test" not in str(caught.value)
