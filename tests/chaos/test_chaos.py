"""Parts of a stack are killed, stopped and robbed of their memory while a job runs: its output tells nothing of it."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos.run import ChaosRun
from tests.chaos.scenario import SMALL
from tests.chaos.screen import ChaosScreen


@pytest.mark.timeout(800)
def test_whatever_is_killed_every_row_is_there_once(tmp_path: Path) -> None:
    seed = secrets.randbelow(1 << 32)
    print(f"to run it with the same seed: python -m tests.chaos --small --seed {seed}")
    with ChaosScreen(Console()) as screen:
        report = ChaosRun(SMALL, seed, tmp_path, screen).run()
    print(*report.lines(), sep="\n")
    assert report.missed == ()
    assert report.counted.results + report.counted.errors == SMALL.rows
    assert report.counted.errors > 200
    assert set(report.kills) == {
        "seaweedfs, stopped for a while",
        "valkey",
        "valkey, its last second cut off",
        "worker (Celery parent)",
        "worker (pool child)",
    }
    assert report.bytes_cut > 0
    assert report.restarts["valkey"] >= SMALL.valkey_kills + SMALL.valkey_cuts
    assert report.messages > 0
    assert report.computed >= report.counted.results, "the trace is not whole"
