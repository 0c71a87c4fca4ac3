"""Findings as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.entry import Entry


def show(console: Console, entries: Sequence[Entry], machine: Mapping[str, Any]) -> None:
    """Print what was found, and on what."""
    table = Table(title="Benchmarks (a ratio above 1 means that Textmill is better)")
    for column in ("benchmark", "metric"):
        table.add_column(column)
    for column in ("ours", "peer"):
        table.add_column(column, justify="right")
    table.add_column("peer is")
    table.add_column("ratio", justify="right")
    table.add_column("goal")
    for entry in entries:
        mark = "[green]met[/]" if entry.met else "[red]missed[/]"
        table.add_row(
            entry.id,
            entry.metric,
            _number(entry.ours),
            _number(entry.peer),
            entry.peer_name,
            f"{entry.ratio:.2f}",
            f"{entry.goal}: {mark}",
        )
    console.print(table)
    console.print(", ".join(f"{name} {_fact(value)}" for name, value in machine.items()))
    scales = {entry.scale for entry in entries} - {1.0}
    if scales:
        console.print(f"[yellow]A trial, scaled by {', '.join(map(str, sorted(scales)))}.[/]")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}"


def _fact(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
