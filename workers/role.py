"""The role of a job's planner or finalizer, kept alive by a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from jobs.errors import Unavailable
from storage.ledger import Answer

log = structlog.get_logger(__name__)


class Replaced(Exception):
    """Somebody else has the role, or there is nothing left to do in it."""


class Stopping(Exception):
    """This process must stop: somebody else should go on."""


class Role:
    """Says again and again that whoever plans or finalizes a job is alive.

    Args:
        renew: says so to the ledger.
        seconds: after which the ledger thinks that nobody is at it.
        begun: ``time.monotonic()`` from before the role was taken.
        draining: set when this process must stop soon.
    """

    def __init__(
        self,
        renew: Callable[[], Answer],
        *,
        seconds: float,
        begun: float,
        draining: threading.Event,
    ) -> None:
        self._renew = renew
        self._draining = draining
        self._seconds = seconds
        self._deadline = begun + seconds
        self._replaced = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="role", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join(timeout=self._seconds)

    def check(self) -> None:
        """Return while the role is held.

        Raises:
            Replaced: it is not, or may not be any more.
            Stopping: it is to be put down.
        """
        if self._draining.is_set():
            raise Stopping
        if self._replaced or time.monotonic() >= self._deadline:
            raise Replaced

    def _keep(self) -> None:
        while not self._done.wait(self._seconds / 4):
            sent = time.monotonic()
            try:
                answer = self._renew()
            except Unavailable as error:
                log.warning("role not renewed", reason=error.detail)
                continue
            if answer is not Answer.OK:
                self._replaced = True
                return
            self._deadline = sent + self._seconds
