"""How a fine-tuning looks to those who watch it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tests.unit.client.scripted import JOB, JOB_ID, ScriptedServer, job, reply
from textmill import Textmill, Training
from textmill.panel import job_panel
from textmill.progress import job_line
from textmill.training import sparkline, to_training

BLOCK: dict[str, Any] = {
    "phase": "training",
    "step": 1200,
    "steps": 4000,
    "epoch": 0.3,
    "loss": 0.1234567,
    "learning_rate": 3e-5,
    "tokens_per_second": 12345.6,
    "eta_seconds": 125.0,
    "evaluation": {"step": 1000, "metrics": {"macro_f1": 0.87654, "broken": None}},
    "checkpoint": {"step": 1100},
    "curve": [[100, 3.0], [500, 2.0], [1200, 1.0]],
}


def test_a_job_tells_how_far_its_training_is(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", JOB, reply({**job("in_progress"), "training": BLOCK}))
    assert tm.jobs.get(JOB_ID).training == Training(
        phase="training",
        step=1200,
        steps=4000,
        epoch=0.3,
        loss=0.1234567,
        learning_rate=3e-5,
        tokens_per_second=12345.6,
        eta_seconds=125.0,
        evaluated_at=1000,
        metrics={"macro_f1": 0.87654, "broken": None},
        checkpoint=1100,
        curve=((100, 3.0), (500, 2.0), (1200, 1.0)),
    )


def test_other_jobs_have_none(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", JOB, reply({**job("in_progress"), "training": None}))
    assert tm.jobs.get(JOB_ID).training is None
    assert to_training({}) is None


def test_a_training_is_drawn(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", JOB, reply({**job("in_progress"), "training": BLOCK}))
    console = Console(file=io.StringIO(), width=90)
    seen = tm.jobs.get(JOB_ID)
    console.print(job_panel(seen))
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    for words in (
        "1,200 of 4,000 steps",
        "█▅▁",
        "loss 0.1235",
        "epoch 0.30",
        "rate 3e-05",
        "12.3 k tokens/s",
        "step 1000 · macro_f1 0.8765",
        "step 1,100",
    ):
        assert words in drawn
    assert "broken" not in drawn
    assert "step 1,200 of 4,000, loss 0.1235" in job_line(seen)


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 10, ""),
        ([1.0], 0, ""),
        ([2.0, 2.0], 10, "▁▁"),
        ([0.0, 7.0], 10, "▁█"),
        ([float(n) for n in range(8)], 10, "▁▂▃▄▅▆▇█"),
        ([0.0, 0.0, 7.0, 7.0], 2, "▁█"),
        ([0.0, float("nan"), float("inf"), 7.0], 10, "▁█"),
    ],
)
def test_a_curve_in_one_line(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn
