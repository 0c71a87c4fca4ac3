"""A long step done in a thread of its own, so that its worker hears when nobody wants it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from workers.lease import Lease

#: Seconds between two looks at the lease.
_LOOK_SECONDS = 0.2

Value = TypeVar("Value")


class Dropped(Exception):
    """Nobody waits for the step any more."""


def apart(lease: Lease, step: Callable[[Callable[[], None]], Value]) -> Value:
    """Do a step while the lease holds, and return at once when it does not, even where the step hangs.

    Args:
        lease: looked at all the while.
        step: is given what it must call between its pieces, which raises :class:`Dropped` once nobody waits.

    Raises:
        LeaseLost: the range may be somebody else's by now.
        JobStopped: the job's outcome is decided.
        Exception: whatever the step raises.
    """
    dropped = threading.Event()
    future: Future[Value] = Future()

    def check() -> None:
        if dropped.is_set():
            raise Dropped

    def run() -> None:
        try:
            future.set_result(step(check))
        except BaseException as error:  # noqa: BLE001  (whoever waits is told)
            future.set_exception(error)

    threading.Thread(target=run, name=f"apart {lease.rows}", daemon=True).start()
    try:
        while not wait([future], _LOOK_SECONDS).done:
            lease.check()
    except BaseException:
        dropped.set()
        raise
    return future.result()
