"""What was seen of one partition. Times are of this machine's monotonic clock, in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.ranges import RowRange


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A worker was cut off while it computed, and reached again later."""

    far_range: str  #: the range that it computed then
    far_token: str  #: its token for that range
    far_row: int  #: the last row of it that it computed before ``mended_at``
    cut_at: float
    far_last_at: float  #: when it computed its last row before ``mended_at``
    stopped_at: float | None  #: when it said that it stopped, if it did before ``mended_at``
    taken_over_at: (
        float | None
    )  #: when another worker computed the first of these rows, if before ``mended_at``
    ended_at: float | None  #: when the job ended, if before ``mended_at``
    mended_at: float
    far_again_at: float  #: when it computed a row again, of another job
    status: str
    committed: tuple[
        tuple[str, str], ...
    ]  #: range and token of every part committed before the job ended
    results: tuple[int, ...]  #: indices of the rows in the results, as they came
    errors: int

    @property
    def owners(self) -> set[str]:
        """Tokens under which the far worker's range was committed, in pieces or whole."""
        rows = RowRange.parse(self.far_range)
        return {
            token
            for name, token in self.committed
            if rows.start <= RowRange.parse(name).start < rows.stop
        }

    @property
    def far_finished(self) -> bool:
        """Whether the far worker computed its range to the end before ``mended_at``."""
        return self.far_row == RowRange.parse(self.far_range).stop - 1
