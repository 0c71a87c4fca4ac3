"""What is done to a stack, and when: drawn once from a seed, before anything runs."""

from __future__ import annotations

import contextlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.patient import Patient
from tests.chaos.scenario import Scenario

#: The part of the shortest possible run in which everything but the killing of workers is done.
FIRST_SHARE, LAST_SHARE = 0.08, 0.92


@dataclass(frozen=True)
class Injury(ABC):
    """Something done to one of the servers."""

    seconds: float = 0.0  #: how long it lasts

    @abstractmethod
    @contextlib.contextmanager
    def inflict(self, patient: Patient) -> Iterator[str]:
        """Hurt on entry, let it heal on exit; gives a line for people."""


@dataclass(frozen=True)
class ValkeyKilled(Injury):
    """Ledger and broker die and come back with all that they had."""

    @contextlib.contextmanager
    def inflict(self, patient: Patient) -> Iterator[str]:
        patient.kill_valkey()
        yield "Valkey killed"


@dataclass(frozen=True)
class ValkeyCut(Injury):
    """Ledger and broker die and come back without what they acknowledged in their last second."""

    @contextlib.contextmanager
    def inflict(self, patient: Patient) -> Iterator[str]:
        lost = patient.cut_valkey()
        yield f"Valkey killed; {lost:,} bytes of its last second cut off"


@dataclass(frozen=True)
class StoreFrozen(Injury):
    """The object store answers nothing."""

    @contextlib.contextmanager
    def inflict(self, patient: Patient) -> Iterator[str]:
        with patient.store_frozen():
            yield f"object store stopped for {self.seconds:g} s"


@dataclass(frozen=True)
class StoreDown(Injury):
    """The object store is dead."""

    @contextlib.contextmanager
    def inflict(self, patient: Patient) -> Iterator[str]:
        with patient.store_down():
            yield f"object store killed and kept down for {self.seconds:g} s"


@dataclass(frozen=True)
class Appointment:
    """An injury and when it begins, in seconds after the job was submitted."""

    at: float
    injury: Injury


def schedule(scenario: Scenario, seed: int) -> list[Appointment]:
    """All injuries but the killing of workers: one after another, in an order and with pauses drawn from the seed.

    All end before the job possibly can.
    """
    draw = random.Random(f"{seed} schedule")
    outage = StoreDown if scenario.store_killed else StoreFrozen
    injuries: list[Injury] = [
        *[ValkeyKilled() for _ in range(scenario.valkey_kills)],
        *[ValkeyCut() for _ in range(scenario.valkey_cuts)],
        outage(scenario.store_outage),
    ]
    draw.shuffle(injuries)
    begin, end = FIRST_SHARE * scenario.least_seconds, LAST_SHARE * scenario.least_seconds
    pause = (end - begin - sum(one.seconds for one in injuries)) / len(injuries)
    if pause <= 0:
        raise ValueError(f"the {scenario.name} run is too short for what is to be done in it")
    found = []
    for injury in injuries:
        # Never right after the one before: what is to be healed must have begun to.
        found.append(Appointment(begin + pause * draw.uniform(0.4, 1.0), injury))
        begin += pause + injury.seconds
    return found
