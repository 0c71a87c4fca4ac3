"""Findings as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

from rich.console import Console
from rich.table import Table

from bench.scale.bends import Point
from bench.scale.memory import Memory
from bench.scale.meter import Cost
from bench.scale.model import Busy, Costs, Load, busy, most_devices, rows_a_day, store_requests
from bench.scale.night import Outcome

#: Share of Redis's one thread that is planned for; the rest is for bursts.
PLANNED_SHARE = 0.6


def show_calls(console: Console, calls: Mapping[str, Cost]) -> None:
    """One line for each call."""
    table = Table(title="What a call costs Redis's thread")
    table.add_column("call")
    for column in ("µs, median", "µs, least", "calls/s of one client"):
        table.add_column(column, justify="right")
    for name, cost in calls.items():
        table.add_row(
            name, f"{cost.server_us:,.0f}", f"{cost.least_us:,.0f}", f"{cost.per_second:,.0f}"
        )
    console.print(table)


def show_bends(console: Console, points: Sequence[Point]) -> None:
    """One line for each call on each axis, its sizes side by side."""
    for axis in dict.fromkeys(point.axis for point in points):
        of_axis = [point for point in points if point.axis == axis]
        sizes = sorted({point.size for point in of_axis})
        table = Table(title=f"µs of Redis's thread, median (least), by {axis}")
        table.add_column("call")
        for size in sizes:
            table.add_column(f"{size:,}", justify="right")
        for call in dict.fromkeys(point.call for point in of_axis):
            by_size = {point.size: point.cost for point in of_axis if point.call == call}
            table.add_row(
                call,
                *(
                    f"{by_size[size].server_us:,.0f} ({by_size[size].least_us:,.0f})"
                    for size in sizes
                ),
            )
        console.print(table)


def show_memory(console: Console, memory: Memory) -> None:
    """One line for each thing."""
    table = Table(title="Redis's memory")
    table.add_column("thing")
    table.add_column("bytes", justify="right")
    for field in fields(memory):
        table.add_row(field.name.replace("_", " "), f"{getattr(memory, field.name):,.0f}")
    console.print(table)


def show_model(console: Console, costs: Costs, loads: Mapping[str, Load]) -> None:
    """For each load how many devices one Redis carries, and what its time goes to then."""
    parts = [field.name for field in fields(Busy)]
    table = Table(title=f"Most devices at {PLANNED_SHARE:.0%} of one core, and what takes it (%)")
    table.add_column("load")
    for column in ("devices", *(part.partition("_")[0] for part in parts), "store req/s"):
        table.add_column(column, justify="right")
    for name, load in loads.items():
        most = most_devices(costs, load, PLANNED_SHARE)
        at_most = busy(costs, replace(load, devices=most))
        shares = (f"{getattr(at_most, part) * 100:.1f}" for part in parts)
        requests = store_requests(most, load.shard_seconds)
        table.add_row(name, f"{most:,}", *shares, f"{requests:,.0f}")
    console.print(table)
    console.print(f"200 devices of 50 rows/s compute {rows_a_day(200, 50):,.0f} rows a day.")


def show_night(console: Console, outcome: Outcome) -> None:
    """One line for each fact."""
    table = Table(title="A night in simulated time, on the real scripts")
    table.add_column("fact")
    table.add_column("value", justify="right")
    for field in fields(outcome):
        value = getattr(outcome, field.name)
        text = (
            " / ".join(f"{one:,.1f}" for one in value)
            if isinstance(value, tuple)
            else f"{value:,.3f}"
            if isinstance(value, float)
            else f"{value:,}"
        )
        table.add_row(field.name.replace("_", " "), text)
    table.add_row("ideal time / simulated time", f"{outcome.efficiency:.3f}")
    console.print(table)
