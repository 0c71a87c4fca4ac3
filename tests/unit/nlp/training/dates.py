"""Dates in two languages as rows, from the demo's generator."""

from __future__ import annotations

from jobs.rows import Row
from server.demo.dates import date_pairs


def date_rows(count: int, *, skip: int = 0) -> list[Row]:
    """English dates with German targets, behind the first ``skip`` of them."""
    return [
        Row(number, pair.english, fields={"target": pair.german}, source="dates", line=number + 1)
        for number, pair in enumerate(date_pairs(skip + count)[skip:])
    ]
