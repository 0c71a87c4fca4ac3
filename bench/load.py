"""An open-loop load of HTTP requests: each is sent when it is due, whether or not others were answered yet.

Run as a process of its own: ``python -m bench.load`` reads a plan as JSON from stdin and writes what it saw as JSON.
Latency counts from the moment at which a request was due, so that a server that stalls cannot hide it by keeping the
generator from sending (what Gil Tene calls coordinated omission). Connections are bounded; one that is due while all
are taken waits for one, which counts too.
"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
import time  # noqa: E402
from dataclasses import asdict, dataclass, field  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import orjson  # noqa: E402
from gevent import socket  # noqa: E402
from gevent.pool import Group  # noqa: E402
from gevent.queue import Queue  # noqa: E402

#: A request that is sent so much later than it was due counts as late.
LATE_SECONDS = 0.005

_TIMEOUT_SECONDS = 30.0


@dataclass(kw_only=True)
class Seen:
    """What became of one sort of requests."""

    latencies: list[float] = field(default_factory=list)  #: seconds from due to answered
    late: int = (
        0  #: were sent later than they were due, for want of a connection or of this process's time
    )
    errors: list[str] = field(default_factory=list)  #: the first of them
    failed: int = 0


class Connection:
    """One kept-alive connection; made anew when it breaks."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: Any = None

    def ask(self, request: bytes) -> int:
        """Send a request; the status of its answer, which was read whole."""
        if self._socket is None:
            self._socket = socket.create_connection(
                ("127.0.0.1", self._port), timeout=_TIMEOUT_SECONDS
            )
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(request)
            return self._answer()
        except OSError:
            self.close()
            raise

    def _answer(self) -> int:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._some()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(one[15:]) for one in lines if one.startswith(b"content-length:")), 0)
        left = length - len(body)
        while left > 0:
            left -= len(self._some())
        if b"connection: close" in lines:
            self.close()
        return int(head[9:12])

    def _some(self) -> bytes:
        data: bytes = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def open_loop(
    port: int, sorts: list[dict[str, Any]], seconds: float, connections: int
) -> list[Seen]:
    """Send ``rate`` requests a second of each sort, taking its ``requests`` in turn.

    Args:
        port: of the server, on loopback.
        sorts: each with ``rate``, ``requests`` (raw) and the ``expected`` statuses.
        seconds: for how long.
        connections: most at once.
    """
    free: Queue[Connection] = Queue()
    for _ in range(connections):
        free.put(Connection(port))
    found = [Seen() for _ in sorts]
    sent = Group()
    begun = time.perf_counter() + 0.5

    def one(number: int, due: float, request: bytes) -> None:
        seen = found[number]
        connection = free.get()
        try:
            if time.perf_counter() - due > LATE_SECONDS:
                seen.late += 1
            status = connection.ask(request)
            seen.latencies.append(time.perf_counter() - due)
            if status not in sorts[number]["expected"]:
                seen.failed += 1
                seen.errors = [*seen.errors, f"status {status}"][:10]
        except OSError as error:
            seen.failed += 1
            seen.errors = [*seen.errors, repr(error)][:10]
        finally:
            free.put(connection)

    def pace(number: int) -> None:
        sort = sorts[number]
        requests = [one.encode() for one in sort["requests"]]
        for count in range(int(sort["rate"] * seconds)):
            due = begun + count / sort["rate"]
            gevent.sleep(max(0.0, due - time.perf_counter()))
            sent.spawn(one, number, due, requests[count % len(requests)])

    gevent.joinall([gevent.spawn(pace, number) for number in range(len(sorts))])
    # Each ends by itself: it is answered, or its connection times out.
    sent.join()
    return found


def closed_loop(port: int, request: bytes, seconds: float, connections: int) -> float:
    """Answers a second, when each connection sends its next request as soon as it has its answer."""
    until = time.perf_counter() + seconds
    done = 0

    def ask() -> None:
        nonlocal done
        connection = Connection(port)
        while time.perf_counter() < until:
            if connection.ask(request) != 200:
                raise RuntimeError("not answered by 200")
            done += 1
        connection.close()

    begun = time.perf_counter()
    asking = [gevent.spawn(ask) for _ in range(connections)]
    gevent.joinall(asking, raise_error=True)
    return done / (time.perf_counter() - begun)


def main() -> None:
    """Do what the plan on stdin says."""
    plan = orjson.loads(sys.stdin.buffer.read())
    if plan.pop("loop") == "open":
        answer: Any = [asdict(one) for one in open_loop(**plan)]
    else:
        answer = closed_loop(
            plan["port"], plan["request"].encode(), plan["seconds"], plan["connections"]
        )
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main()
