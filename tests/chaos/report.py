"""What a run of the chaos test was and what it showed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.chaos.injuries import Appointment
from tests.chaos.output import Counted
from tests.chaos.scenario import Scenario
from tests.chaos.thrice.thrice_transport import COPIES

_DIED = re.compile(r"✗ ([a-z-]+?)(?:-\d+)?\s+died")


def restarts(log: str) -> dict[str, int]:
    """How often the supervisor saw a part die, by the part's name, from what ``up`` printed."""
    found: dict[str, int] = {}
    for name in _DIED.findall(log):
        found[name] = found.get(name, 0) + 1
    return found


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run, calm and disturbed."""

    scenario: Scenario
    seed: int
    counted: Counted
    digests: tuple[str, str]  #: SHA-256 of results and errors, the same in both runs
    calm_seconds: float
    seconds: float  #: the disturbed run, from its submission to its end
    computed: int  #: rows that the kind computed in the disturbed run, each as often as it did
    kills: Mapping[str, int]
    bytes_cut: int
    restarts: Mapping[str, int]
    messages: int  #: Celery messages sent, each delivered three times
    missed: tuple[Appointment, ...]  #: injuries for which the job was over too soon

    @property
    def redone(self) -> float:
        """Rows computed once more than needed, as a share of all that had to be computed."""
        needed = self.scenario.rows - self.counted.errors
        return max(0, self.computed - needed) / needed

    def lines(self) -> Iterable[str]:
        """The report for people."""
        size, counted = self.scenario, self.counted
        yield f"chaos, {size.name}: {size.rows:,} rows, {size.workers} workers, seed {self.seed}"
        yield f"  rows        {counted.results:,} results, {counted.errors:,} errors: each once, in order"
        yield "  compared    byte for byte the same as undisturbed, SHA-256 of both files:"
        yield from (f"              {digest}" for digest in self.digests)
        yield f"  undisturbed {self.calm_seconds:.0f} s, with no delay of rows"
        yield f"  disturbed   {self.seconds:.0f} s, {size.rows / self.seconds:,.0f} rows/s"
        yield f"  at best     {size.least_seconds:.0f} s, were every worker busy all the time"
        yield f"  redone      {100 * self.redone:.1f} % of the rows"
        yield f"  messages    {self.messages:,}, each delivered {COPIES} times"
        yield from (
            f"  hurt        {count:4}  {name}" for name, count in sorted(self.kills.items())
        )
        yield f"  cut off     {self.bytes_cut:,} bytes of the append-only file"
        yield from (
            f"  restarted   {count:4}  {name}" for name, count in sorted(self.restarts.items())
        )
        for appointment in self.missed:
            yield f"  MISSED      {appointment.injury}: the job was over before"
