"""``python -m bench.simulate_scale``: what one Redis carries, and a simulated night. See ``docs/scale.md``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.scale.bends import Point, Sizes, measure_bends
from bench.scale.calls import measure_calls
from bench.scale.memory import measure_memory
from bench.scale.meter import Cost, slope
from bench.scale.model import Costs, Load, busy, most_devices
from bench.scale.night import make_night
from bench.scale.planning import measure_planning
from bench.scale.server import scratch_server
from bench.scale.show import (
    PLANNED_SHARE,
    show_bends,
    show_calls,
    show_memory,
    show_model,
    show_night,
)
from bench.scale.simulation import simulate

#: Calls measured of each kind, ranges and jobs whose memory is measured.
_CALLS, _RANGES, _JOBS = 500, 4_000, 300
_PLANNED_ROWS = 50_000

#: What is asked of one Redis, from the usual to what each thing alone does to it.
LOADS: Mapping[str, Load] = {
    "shards of 10 s": Load(devices=0),
    "shards of 60 s": Load(devices=0, shard_seconds=60),
    "shards of 1 s": Load(devices=0, shard_seconds=1),
    "10 windows a second": Load(devices=0, beats_per_second=11),
    "1,000 active jobs": Load(devices=0, active_jobs=1_000),
    "1,000 pollers, 2 s": Load(devices=0, pollers=1_000),
    "100 long polls": Load(devices=0, pollers=0, waiters=100),
}


@click.group()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_context
def main(context: click.Context, as_json: bool) -> None:
    """Measure what the ledger costs, or simulate a night on it."""
    context.obj = as_json


@main.command()
@click.option(
    "--scale",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=1.0,
    envvar="BENCH_SCALE",
    help="Share of the usual size, for trials.",
)
@click.pass_obj
def costs(as_json: bool, scale: float) -> None:
    """Measure each call, how costs grow, and what one Redis carries therefore."""
    count = max(10, round(_CALLS * scale))
    with _progress() as progress, scratch_server() as client:
        task = progress.add_task("begin", total=None)

        def announce(what: str) -> None:
            progress.update(task, description=what)

        calls = measure_calls(client, count, announce)
        memory = measure_memory(
            client, max(600, round(_RANGES * scale)), max(10, round(_JOBS * scale)), announce
        )
        points = list(measure_bends(client, _sizes(scale), max(10, count // 4), announce))
        planned = measure_planning(max(1_000, round(_PLANNED_ROWS * scale)), announce)
    known = known_costs(calls, points)
    if as_json:
        most = {name: most_devices(known, load, PLANNED_SHARE) for name, load in LOADS.items()}
        _print_json(
            {
                "scale": scale,
                "calls": {name: asdict(cost) for name, cost in calls.items()},
                "memory": asdict(memory),
                "bends": [asdict(point) for point in points],
                "planned_rows_per_second": planned,
                "model": asdict(known),
                "most_devices": most,
                "busy_with_200_devices": asdict(busy(known, Load(devices=200))),
            }
        )
        return
    console = Console()
    show_calls(console, calls)
    show_memory(console, memory)
    show_bends(console, points)
    show_model(console, known, LOADS)
    console.print(
        f"One control process plans {planned:,.0f} rows in a second of its processor time."
    )


@main.command()
@click.option("--rows", type=click.IntRange(min=1_000), default=10_000_000, show_default=True)
@click.option("--devices", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--rows-per-second", type=float, default=50.0, show_default=True, help="Of a device.")
@click.option(
    "--deaths-per-hour", type=float, default=2.0, show_default=True, help="Of a device at work."
)
@click.option("--least-rows", type=click.IntRange(min=1), default=1, help="Of a shard.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.pass_obj
def night(
    as_json: bool,
    *,
    rows: int,
    devices: int,
    rows_per_second: float,
    deaths_per_hour: float,
    least_rows: int,
    seed: int,
) -> None:
    """Simulate a night against the real scripts, with workers that die; fails where a row is lost or done twice."""
    plan = make_night(
        rows,
        devices=devices,
        rows_per_second=rows_per_second,
        deaths_per_hour=deaths_per_hour,
        least_rows=least_rows,
        seed=seed,
    )
    with _progress() as progress, scratch_server() as client:
        task = progress.add_task(f"{rows:,} rows", total=rows)
        outcome = simulate(client, plan, lambda done: progress.update(task, completed=done))
    if as_json:
        _print_json({**asdict(outcome), "efficiency": outcome.efficiency})
    else:
        show_night(Console(), outcome)


def known_costs(calls: Mapping[str, Cost], points: list[Point]) -> Costs:
    """The measured medians as the model takes them."""
    live = [(point.size, point.cost.server_us) for point in points if point.call == "live workers"]
    at_none, each = slope(live)
    return Costs(
        calls={name: cost.server_us for name, cost in calls.items()},
        live_us=max(0.0, at_none),
        live_worker_us=max(0.0, each),
    )


def _sizes(scale: float) -> Sizes:
    usual = Sizes()

    def scaled(sizes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(max(2, round(size * scale)) for size in sizes))

    return Sizes(
        jobs=scaled(tuple(usual.jobs)),
        ranges=scaled(tuple(usual.ranges)),
        tenants=tuple(size for size in usual.tenants if size <= 64 * scale or size == 1),
        workers=scaled(tuple(usual.workers)),
    )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


if __name__ == "__main__":
    main()
