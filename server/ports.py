"""Free ports on the loopback address.

Ports are drawn at random from 20000-29999: below the ranges that Linux (32768 up) and IANA (49152 up) hand out for
outgoing connections, and below Kubernetes' node ports (30000-32767). A port remembered from an earlier start is
therefore rarely in use at the next one, which an ephemeral port would often be.

A port is free only at the moment of the question. Random draws from ten thousand keep two programs that ask at once
apart, where asking the kernel for "any" port gives neighbours; what is left of the race shows as a child that cannot
bind its port and fails its start.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"
FIRST, LAST = 20_000, 29_999


def free_ports(count: int, *, avoid: Collection[int] = ()) -> list[int]:
    """``count`` different ports that nothing listens on, none of them in ``avoid``.

    All are bound at once before any is let go, so that no two are the same.

    Raises:
        OSError: fewer than ``count`` ports of the range are free.
    """
    candidates = random.SystemRandom().sample(range(FIRST, LAST + 1), LAST + 1 - FIRST)
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in candidates:
            if len(found) == count:
                break
            if port in avoid:
                continue
            listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            with contextlib.suppress(OSError):
                listener.bind((LOOPBACK, port))
                found.append(port)
    if len(found) < count:
        raise OSError(f"expected {count} free ports in {FIRST}-{LAST}, found {len(found)}")
    return found


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` now.

    Asks as servers do, with SO_REUSEADDR: connections of a server that ended a moment ago do not count.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen(1)
        except OSError:
            return False
        return True
