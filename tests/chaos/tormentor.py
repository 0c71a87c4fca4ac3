"""Does to a stack what the schedule says, beside whoever waits for the job."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from tests.chaos.injuries import Appointment, schedule
from tests.chaos.patient import Patient
from tests.chaos.scenario import Scenario

Announce = Callable[[str], None]

#: Seconds after which a kill that waits for the job looks again.
_WAIT_SECONDS = 0.2


class Tormentor:
    """Hurts the stack from entry to exit. Everything has healed, or been let go, at exit.

    Args:
        patient: the stack.
        scenario: what is done to it.
        seed: from which times and victims are drawn.
        done: rows of the job that are known to be committed; called from another thread.
        announce: called with a line for people, from another thread.
    """

    def __init__(
        self,
        patient: Patient,
        scenario: Scenario,
        seed: int,
        *,
        done: Callable[[], int],
        announce: Announce,
    ) -> None:
        self._patient = patient
        self._scenario = scenario
        self._done = done
        self._announce = announce
        self._done_before = 0
        self._victims = random.Random(f"{seed} victims")
        self._parents = _both_ways(self._victims)
        self._left = schedule(scenario, seed)
        self._over = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tormentor")
        self._work: Future[None] | None = None
        self._next_kill = 0.0

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        self._next_kill = self._scenario.kill_seconds
        self._work = self._thread.submit(self._run)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.shutdown(wait=True)
        if self._work is not None and error is None:
            self._work.result()  # what went wrong while hurting

    @property
    def left(self) -> list[Appointment]:
        """What has not been done."""
        return list(self._left)

    def _run(self) -> None:
        while self._left:
            appointment = self._left[0]
            if self._kill_workers_until(appointment.at):
                return
            with appointment.injury.inflict(self._patient) as line:
                self._announce(line)
                self._left.pop(0)
                if self._kill_workers_until(self._passed + appointment.injury.seconds):
                    return
            if appointment.injury.seconds:
                self._announce("and comes back")
        self._kill_workers_until(None)

    @property
    def _passed(self) -> float:
        return time.monotonic() - self._begun

    def _kill_workers_until(self, end: float | None) -> bool:
        """Kill a worker whenever it is time to, until ``end`` or for ever; True when all is over."""
        while end is None or self._passed < end:
            until = self._next_kill if end is None else min(end, self._next_kill)
            if self._over.wait(max(0.0, until - self._passed)):
                return True
            if self._passed >= self._next_kill:
                self._kill_worker()
        return self._over.is_set()

    def _kill_worker(self) -> None:
        done = self._done()
        if self._scenario.kill_waits and done <= self._done_before:
            self._next_kill = self._passed + _WAIT_SECONDS
            return
        self._done_before = done
        self._next_kill = max(self._passed, self._next_kill + self._scenario.kill_seconds)
        killed = self._patient.kill_worker(self._victims, parent=next(self._parents))
        if killed is not None:
            self._announce(f"{killed} killed")


def _both_ways(draw: random.Random) -> Iterator[bool]:
    """True and False in an order nobody knows, but both in every pair."""
    while True:
        first = draw.random() < 0.5
        yield first
        yield not first
