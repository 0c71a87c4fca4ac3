"""``python -m tests.chaos``: a million rows through a stack whose parts are killed all the while."""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos.output import OutputWrong
from tests.chaos.report import Report
from tests.chaos.run import ChaosRun
from tests.chaos.scenario import FULL, SMALL
from tests.chaos.screen import ChaosScreen
from tests.chaos.training.moments import draw_moments
from tests.chaos.training.ordeal import EPOCHS_PER_KILL, Ordeal, OrdealReport
from textmill import TextmillError


def main(arguments: list[str] | None = None) -> int:
    """Run, report, and give the exit status: 0 only when the output was whole."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--small", action="store_true", help="the size that the test suite runs")
    parser.add_argument(
        "--training",
        type=int,
        metavar="KILLS",
        help="instead of a million rows a training, killed so many times",
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="that train together, with --training"
    )
    parser.add_argument("--seed", type=int, help="repeat the schedule of another run")
    parser.add_argument("--folder", type=Path, help="where to keep everything; must not exist")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    if options.folder is None:
        folder = Path(tempfile.mkdtemp(prefix="textmill-chaos-"))
    else:
        folder = options.folder.resolve()
        folder.mkdir(parents=True)
    # As Ctrl-C does: the stack is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console()
    console.print(f"seed {seed}; everything is kept in {folder} when this fails", highlight=False)
    try:
        with ChaosScreen(console) as screen:
            report = _run(options, seed, folder, screen)
    except (OutputWrong, TextmillError, AssertionError) as error:
        line = f"FAILED with seed {seed}: {error}"
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
        console.print(f"see {folder}", highlight=False)
        return 1
    for line in report.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if options.folder is None:
        shutil.rmtree(folder)
    return 1 if report.missed else 0


def _run(
    options: argparse.Namespace, seed: int, folder: Path, screen: ChaosScreen
) -> Report | OrdealReport:
    if not options.training:
        return ChaosRun(SMALL if options.small else FULL, seed, folder, screen).run()
    moments = draw_moments(options.training, seed, processes=options.processes)
    screen.phase(f"a training is killed {len(moments)} times")
    epochs = EPOCHS_PER_KILL * len(moments)
    ordeal = Ordeal(
        folder, moments, seed, epochs=epochs, say=screen.say, processes=options.processes
    )
    return ordeal.run()


if __name__ == "__main__":
    sys.exit(main())
