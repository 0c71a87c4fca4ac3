"""One attempt to post an event, at receivers that are good, bad, slow or somebody's inside."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from jobs.webhooks import parse_target
from scheduler.sending import ANSWER_BYTES, Reply, Sender
from tests.receivers import Heard, Receiver, raw

LOOPBACK = [ipaddress.ip_network("127.0.0.1/32")]
BODY = b'{"type":"job.completed"}'


def sender(seconds: float = 5.0, names: Callable[[str], list[str]] | None = None) -> Sender:
    """One that may go to 127.0.0.1, and to nothing else that is not public."""
    resolve = names or (lambda _host: pytest.fail("a name was looked up"))
    return Sender(seconds=seconds, allow_http=True, allowed=LOOPBACK, resolve=resolve)


def post(sender: Sender, url: str) -> Reply:
    return sender.post(parse_target(url), BODY, {"webhook-id": "job_a:1:completed"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_the_event_arrives_as_it_is(receiver: Receiver) -> None:
    assert post(sender(), receiver.url) == Reply(status=204)
    (heard,) = receiver.heard
    assert (heard.path, heard.body) == ("/hook?a=1", BODY)
    assert heard.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["webhook-id"] == "job_a:1:completed"


@pytest.mark.parametrize("status", [200, 201, 299, 400, 401, 404, 410, 429, 500, 503])
def test_the_status_is_what_counts(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda *_: (status, {}, b"whatever")
    assert post(sender(), receiver.url) == Reply(status=status)


def test_when_to_come_again(receiver: Receiver) -> None:
    def asked(value: str) -> float | None:
        receiver.answer = lambda *_: (503, {"Retry-After": value}, b"")
        return post(sender(), receiver.url).retry_after

    assert asked("17") == 17
    later = asked(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert later is not None
    assert 80 < later <= 90
    assert asked(format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)) == 0
    for nonsense in ("-1", "soon", "1e9", "9" * 30, "\u0661", "", "Mon, 99 Foo 2026 99:99:99 GMT"):
        assert asked(nonsense.encode("latin-1", "replace").decode("latin-1")) is None


# --- where it goes ---------------------------------------------------------------------------------------


def test_the_address_that_was_checked_is_connected_to_under_its_name(receiver: Receiver) -> None:
    asked: list[str] = []

    def names(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    reply = post(sender(names=names), f"http://Hooks.example.org:{receiver.port}/a")
    assert reply == Reply(status=204)
    assert receiver.heard[0].headers["host"] == f"hooks.example.org:{receiver.port}"
    assert asked == ["hooks.example.org"], "resolved once"


def test_a_name_that_turns_inside_between_two_looks_is_never_followed_there(
    receiver: Receiver,
) -> None:
    """Rebinding: the first answer is taken, checked and used; there is no second look that could differ."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]])
    made = sender(names=lambda _host: next(answers))
    url = f"http://rebinding.example.org:{receiver.port}/"
    assert post(made, url) == Reply(status=204)
    assert post(made, url) == Reply(error="target_forbidden")
    assert len(receiver.heard) == 1


INSIDE = [
    "127.0.0.2", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "198.18.0.1",
    "224.0.0.1", "255.255.255.255", "168.63.129.16", "::1", "::", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::a00:1", "2002:a00:1::", "2001:0:a00:1::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254",
    "ff02::1", "fec0::1", "not an address",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_stands_for_an_inside_is_not_connected_to(
    receiver: Receiver, address: str
) -> None:
    for answer in ([address], ["127.0.0.1", address], [address, "127.0.0.1"]):
        made = sender(names=lambda _host, answer=answer: answer)  # type: ignore[misc]
        reply = post(made, f"http://hooks.example.org:{receiver.port}/")
        assert reply == Reply(error="target_forbidden")
    assert receiver.heard == []


def test_without_leave_loopback_is_an_inside_too(receiver: Receiver) -> None:
    made = Sender(seconds=5, allow_http=True)
    assert post(made, receiver.url) == Reply(error="target_forbidden")
    assert post(made, f"http://localhost:{receiver.port}/") == Reply(error="target_forbidden")
    assert receiver.heard == []


def test_http_goes_out_only_where_it_may(receiver: Receiver) -> None:
    made = Sender(seconds=5, allowed=LOOPBACK)
    assert post(made, receiver.url) == Reply(error="target_forbidden")


def test_a_name_that_nobody_knows() -> None:
    def unknown(_host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    assert post(sender(names=unknown), "http://gone.example.org/") == Reply(error="name_unknown")
    assert post(sender(names=lambda _: []), "http://gone.example.org/") == Reply(
        error="name_unknown"
    )


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    hanging = threading.Event()

    def names(_host: str) -> list[str]:
        hanging.wait(30)
        return ["127.0.0.1"]

    begun = time.monotonic()
    assert post(sender(0.3, names=names), "http://slow.example.org/") == Reply(error="timeout")
    hanging.set()
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    inner = Receiver()
    receiver.answer = lambda *_: (status, {"Location": inner.url}, b"")
    assert post(sender(), receiver.url) == Reply(status=status)
    inner.close()
    assert inner.heard == []


def test_no_proxy_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert post(sender(), receiver.url) == Reply(status=204)


def test_the_next_address_is_tried_where_one_is_dead(receiver: Receiver) -> None:
    allowed = [ipaddress.ip_network("127.0.0.0/8")]
    made = Sender(
        seconds=5,
        allow_http=True,
        allowed=allowed,
        resolve=lambda _host: ["127.0.0.9", "127.0.0.1"],  # the receiver listens at the second one
    )
    assert post(made, f"http://hooks.example.org:{receiver.port}/") == Reply(status=204)


# --- receivers that misbehave ------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert post(sender(), f"http://127.0.0.1:{port}/") == Reply(error="connection_failed")


def read_request(connection: socket.socket) -> None:
    data = b""
    while BODY not in data:
        data += connection.recv(65536)


def trickled(head: bytes) -> Callable[[socket.socket], None]:
    """Bytes that never end, each soon enough to keep a socket's timeout from passing."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(head)
        while True:
            connection.sendall(b"a")
            time.sleep(0.02)

    return serve


def silent(connection: socket.socket) -> None:
    connection.recv(1)
    time.sleep(10)


SLOW: dict[str, Callable[[socket.socket], None]] = {
    "says nothing": silent,
    "trickles its status": trickled(b"HTT"),
    "trickles its headers": trickled(b"HTTP/1.1 200 OK\r\nA: "),
    "goes on being about to": trickled(b"HTTP/1.1 100 Continue\r\nA: "),
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_receiver_is_left_in_time(kind: str) -> None:
    with raw(SLOW[kind]) as port:
        begun = time.monotonic()
        assert post(sender(0.5), f"http://127.0.0.1:{port}/") == Reply(error="timeout")
        assert time.monotonic() - begun < 3


def test_a_body_that_trickles_after_a_good_status_is_left_in_time_and_is_an_answer() -> None:
    with raw(trickled(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")) as port:
        begun = time.monotonic()
        assert post(sender(0.5), f"http://127.0.0.1:{port}/") == Reply(status=200)
        assert time.monotonic() - begun < 3


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    sent = 0

    def serve(connection: socket.socket) -> None:
        nonlocal sent
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            sent += 1 << 16

    with raw(serve) as port:
        begun = time.monotonic()
        assert post(sender(20), f"http://127.0.0.1:{port}/") == Reply(status=200)
        assert time.monotonic() - begun < 10, "it did not wait for the end"
    assert sent < 64 * ANSWER_BYTES + (16 << 20)  # what the kernel holds comes on top


BROKEN = {
    "closes at once": b"",
    "closes in its status": b"HTTP/1.1 20",
    "closes in its headers": b"HTTP/1.1 200 OK\r\nContent-Le",
    "speaks something else": b"SSH-2.0-OpenSSH_9.2\r\n",
    "speaks binary": bytes(range(256)) * 8,
    "has a silly status": b"HTTP/1.1 99999 OK\r\n\r\n",
    "has no number for a status": b"HTTP/1.1 abc OK\r\n\r\n",
    "has a header without end": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000,
    "has headers without end": b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 5_000 + b"\r\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_none(kind: str) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(BROKEN[kind])

    with raw(serve) as port:
        reply = post(sender(), f"http://127.0.0.1:{port}/")
    if (
        kind == "closes in its headers"
    ):  # Python takes the end of the connection for that of the headers
        assert reply in (Reply(error="bad_answer"), Reply(status=200))
    else:
        assert reply == Reply(error="bad_answer")


def test_a_receiver_that_closes_before_it_has_read() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with raw(serve) as port:
        target = parse_target(f"http://127.0.0.1:{port}/")
        reply = sender().post(target, bytes(32 << 20), {})
    assert reply == Reply(error="bad_answer")


def test_a_receiver_that_reads_nothing_is_left_in_time() -> None:
    with raw(lambda _connection: time.sleep(10)) as port:
        begun = time.monotonic()
        target = parse_target(f"http://127.0.0.1:{port}/")
        assert sender(0.5).post(target, bytes(64 << 20), {}) == Reply(error="timeout")
        assert time.monotonic() - begun < 5


# --- TLS ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of hooks.example.org, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = [
        openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-keyout", "key.pem", "-out", "certificate.pem", "-subj", "/CN=hooks.example.org",
        "-addext", "subjectAltName=DNS:hooks.example.org,DNS:*.wild.example.org,IP:127.0.0.1",
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    made = Receiver(tls=context)
    yield made
    made.close()


def trusting(certificate: tuple[Path, Path] | None) -> Sender:
    tls = None if certificate is None else ssl.create_default_context(cafile=certificate[0])
    return Sender(seconds=5, allowed=LOOPBACK, resolve=lambda _host: ["127.0.0.1"], tls=tls)


def test_the_certificate_must_be_of_the_name(
    secure: Receiver, certificate: tuple[Path, Path]
) -> None:
    made = trusting(certificate)
    for host in ("hooks.example.org", "a.wild.example.org", "127.0.0.1"):
        assert post(made, f"https://{host}:{secure.port}/") == Reply(status=204)
        assert secure.heard.pop().headers["host"] == f"{host}:{secure.port}"
    for host in ("other.example.org", "a.b.wild.example.org", "localhost"):
        assert post(made, f"https://{host}:{secure.port}/") == Reply(error="tls_failed")
    assert secure.heard == []


def test_the_certificate_must_be_trusted(secure: Receiver) -> None:
    made = trusting(None)
    url = f"https://hooks.example.org:{secure.port}/"
    assert post(made, url) == Reply(error="tls_failed")
    assert secure.heard == []


def test_what_speaks_no_tls(certificate: tuple[Path, Path], receiver: Receiver) -> None:
    made = trusting(certificate)
    assert post(made, f"https://hooks.example.org:{receiver.port}/") == Reply(error="tls_failed")


def test_a_handshake_that_trickles_is_left_in_time(certificate: tuple[Path, Path]) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"\x16\x03\x03\x40\x00")  # a long record begins
        while True:
            connection.sendall(b"\x02")
            time.sleep(0.02)

    made = Sender(
        seconds=0.5,
        allowed=LOOPBACK,
        resolve=lambda _host: ["127.0.0.1"],
        tls=ssl.create_default_context(cafile=certificate[0]),
    )
    with raw(serve) as port:
        begun = time.monotonic()
        assert post(made, f"https://hooks.example.org:{port}/") == Reply(error="timeout")
        assert time.monotonic() - begun < 3


def test_a_slow_receiver_behind_tls_is_left_in_time(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            trickled(b"HTTP/1.1 200 OK\r\nA: ")(inner)

    made = Sender(
        seconds=0.7,
        allowed=LOOPBACK,
        resolve=lambda _host: ["127.0.0.1"],
        tls=ssl.create_default_context(cafile=certificate[0]),
    )
    with raw(serve) as port:
        begun = time.monotonic()
        assert post(made, f"https://hooks.example.org:{port}/") == Reply(error="timeout")
        assert time.monotonic() - begun < 3


def test_many_at_once_do_not_mix(receiver: Receiver) -> None:
    made = sender()

    def one(number: int) -> None:
        target = parse_target(receiver.url)
        assert made.post(target, b"%d" % number, {"webhook-id": str(number)}) == Reply(status=204)

    with ExitStack() as stack:
        threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)

    def told(heard: Heard) -> tuple[str, bytes]:
        return heard.headers["webhook-id"], heard.body

    assert sorted(map(told, receiver.heard)) == sorted((str(n), b"%d" % n) for n in range(16))
