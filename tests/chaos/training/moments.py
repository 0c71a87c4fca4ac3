"""When a training is hurt, and what is killed then: drawn once from a seed, before anything runs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice


class Victim(StrEnum):
    """What is killed with ``kill -9``."""

    TRAINER = "the process that trains"
    CHILD = "the worker's pool child"
    HOST = "every process of the host"
    WORKER = "the worker"
    RANK = "another process that trains"


@dataclass(frozen=True)
class Moment:
    """One kill."""

    victim: Victim
    #: Time after the newest checkpoint became whole, as a share of the time between two of them.
    share: float
    uploading: bool  #: rather in the middle of the next checkpoint's upload

    def __str__(self) -> str:
        when = "in the middle of an upload" if self.uploading else f"{self.share:.2f} on"
        return f"{self.victim}, {when}"


def draw_moments(count: int, seed: int, *, processes: int = 1) -> list[Moment]:
    """So many kills, of each victim about as many. Of each but the trainers some fall into an upload.

    The process that trains uploads nothing itself, so no upload ends with it.

    Args:
        count: from 3 on the worker, its host and the process that trains all have their turn.
        seed: the same one gives the same kills.
        processes: that train; of several another than the first is killed first.
    """
    chance = random.Random(f"{seed} moments")
    alone = [victim for victim in Victim if victim is not Victim.RANK]
    victims = list(islice(cycle(alone if processes == 1 else [Victim.RANK, *alone]), count))
    seen: dict[Victim, int] = {}
    found = []
    for victim in victims:
        seen[victim] = seen.get(victim, 0) + 1
        trains = victim in {Victim.TRAINER, Victim.RANK}
        uploading = not trains and seen[victim] % 2 == 1
        found.append(Moment(victim, chance.random(), uploading))
    chance.shuffle(found)
    return found
