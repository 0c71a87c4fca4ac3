"""What the echo kind computed, when and in which process, read from the file that its parameter ``trace`` names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Computed:
    """One batch that was computed, whatever became of it."""

    at: float  #: when it was finished, by this machine's monotonic clock
    pid: int  #: the process
    first: int  #: index of its first row
    last: int  #: index of its last row
    rows: int


def read_trace(path: Path) -> Iterator[Computed]:
    """Every batch, in the order in which they were finished; nothing before the first one is."""
    try:
        file = path.open(encoding="ascii")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            at, pid, first, last, rows = line.split()
            yield Computed(float(at), int(pid), int(first), int(last), int(rows))
