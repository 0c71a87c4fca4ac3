"""The sides of a comparison that take turns: a kind of ours in this process, and peers in theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from jobs.kinds import Kind, LoadOptions, RunContext
from jobs.params import parse_params
from jobs.rows import Row, Success
from nlp.ahead import run_windows
from server.devices import find_devices

#: Between turns: after its work OpenMP lets threads spin on for a fifth of a second, at the cost of who comes next.
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Turn:
    """One run of one side."""

    seconds: float
    outputs: list[Any]  #: one for each text

    @property
    def speed(self) -> float:
        """Texts a second."""
        return len(self.outputs) / self.seconds


@dataclass(frozen=True)
class Side:
    """One side, with the texts that it is given in each round."""

    run: Callable[[Sequence[str]], Turn]
    texts: Sequence[str]


class KindSide:
    """A kind with its model, called as a worker calls it.

    Args:
        output: what becomes an output of a turn.
        how: how the model is loaded, as :class:`LoadOptions` has it.
    """

    def __init__(
        self, kind: Kind, folder: Path, output: Callable[[Success], Any], **how: Any
    ) -> None:
        self._kind = kind
        self._output = output
        self.context = RunContext(device=find_devices("auto")[0])
        self.model: Any = kind.load(folder, LoadOptions(device=self.context.device, **how))

    def run(self, texts: Sequence[str], params: dict[str, Any]) -> Turn:
        """Compute texts; the preparation of the job counts too. A text that fails ends it."""
        rows = [Row(index, text) for index, text in enumerate(texts)]
        parsed = parse_params(self._kind, params)
        begun = time.perf_counter()
        state = self._kind.prepare(self.model, parsed, self.context)
        outcomes = run_windows(
            self._kind, self.model, state, rows, params=parsed, context=self.context
        )
        seconds = time.perf_counter() - begun
        good = [one for one in outcomes if isinstance(one, Success)]
        if len(good) != len(texts):
            raise RuntimeError(f"{len(texts) - len(good)} of {len(texts)} texts failed")
        return Turn(seconds, [self._output(one) for one in good])


def take_turns(
    sides: Mapping[str, Side],
    rounds: int,
    said: Callable[[str], None],
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[Turn]]:
    """Each side over its texts, turn by turn.

    Args:
        said: told the speeds of each round.
        between: called before each round.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        between()
        for name, side in sides.items():
            time.sleep(_PAUSE_SECONDS)
            turns[name].append(side.run(side.texts))
        speeds = ", ".join(f"{name} {found[-1].speed:.2f}" for name, found in turns.items())
        said(f"{number}, texts a second: {speeds}")
    return turns


def median_speed(turns: Sequence[Turn]) -> float:
    """Texts a second, of the round in the middle."""
    return median(turn.speed for turn in turns)
