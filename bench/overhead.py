"""What the platform costs: rows that need no computing, rows that do, and the way to the first row."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from bench.classification import classification
from bench.echo import echo
from bench.entry import Entry
from bench.latency import latency
from bench.stack import platform


def overhead(console: Console, scale: float) -> Iterator[Entry]:
    """Measure all three on one stack."""
    with platform() as running:
        yield from latency(running, console, scale)
        yield from echo(running, console, scale)
        yield from classification(running, console, scale)
