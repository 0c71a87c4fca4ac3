"""``python -m bench [NAME ...]``: run benchmarks, print what they found and keep it in ``bench/results.json``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from bench.api import api
from bench.classify import classify
from bench.entry import Entry, merge
from bench.finetune import finetune
from bench.machine import describe_machine
from bench.memory import memory
from bench.nightly import nightly
from bench.overhead import overhead
from bench.summarize import summarize
from bench.table import show
from bench.transfer import transfer
from bench.translate import translate

RESULTS = Path(__file__).parent / "results.json"

#: Each is given where to print progress and the scale, and yields what it found.
BENCHMARKS: dict[str, Callable[[Console, float], Iterator[Entry]]] = {
    "api": api,
    "classify": classify,
    "finetune": finetune,
    "memory": memory,
    "nightly": nightly,
    "overhead": overhead,
    "summarize": summarize,
    "transfer": transfer,
    "translate": translate,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(BENCHMARKS)))
@click.option(
    "--scale",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=1.0,
    envvar="BENCH_SCALE",
    help="Share of the usual size, for trials.",
)
def main(names: tuple[str, ...], scale: float) -> None:
    """Run the benchmarks NAMES, or all of them."""
    # As Ctrl-C does: the stack must not outlive the benchmark.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console()
    machine = describe_machine()
    found: list[Entry] = []
    for name in names or sorted(BENCHMARKS):
        for entry in BENCHMARKS[name](console, scale):
            found.append(entry)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            merge(RESULTS, [entry.to_json(machine, now)])
    show(console, found, machine)


if __name__ == "__main__":
    main()
