"""Planning that cuts nothing: what a run of a schedule would process, and what that would cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from jobs.estimates import Estimate
from jobs.rows import BadRow, Row, encode_shard_row
from storage.corpus import Measured
from workers.carrying import Carrying


@dataclass
class _Counted:
    """Counts rows as they pass."""

    rows: int = 0
    bad: int = 0
    text_bytes: int = 0  #: of good ones
    line_bytes: int = 0

    def passing(self, rows: Iterable[Row | BadRow]) -> Iterator[Row | BadRow]:
        for row in rows:
            self.rows += 1
            self.bad += isinstance(row, BadRow)
            yield row

    def add(self, row: Row) -> None:
        self.text_bytes += len(row.text.encode())
        self.line_bytes += len(encode_shard_row(row))


def foretell(
    rows: Iterable[Row | BadRow],
    carrying: Carrying | None,
    measured: Measured | None,
    bytes_per_second: float | None,
) -> Estimate:
    """Go through the rows of a run; what it would process and cost.

    Args:
        rows: of the input, checked.
        carrying: what is known of them from the run before; None: every one is computed.
        measured: what rows cost in the last runs, where they were computed in the same way.
        bytes_per_second: else how many bytes of shards jobs of this kind and model got through in a second.
    """
    counted = _Counted()
    computed = 0
    for row in counted.passing(rows) if carrying is None else carrying.left(counted.passing(rows)):
        if isinstance(row, Row):
            computed += 1
            counted.add(row)
    estimate = Estimate(
        rows=counted.rows, bad=counted.bad, computed=computed, text_bytes=counted.text_bytes
    )
    if measured is not None and measured.text_bytes:
        share = counted.text_bytes / measured.text_bytes
        return replace(
            estimate,
            basis="last_runs",
            input_tokens=round(measured.input_tokens * share),
            output_tokens=round(measured.output_tokens * share),
            device_seconds=round(measured.device_ms * share / 1000, 3),
        )
    if bytes_per_second:
        seconds = round(counted.line_bytes / bytes_per_second, 3)
        return replace(estimate, basis="speed", device_seconds=seconds)
    return estimate
