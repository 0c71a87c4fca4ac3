"""What users see of a training, and what is kept of its events: right, and of bounded size."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import orjson
import pytest

from jobs.record import JobRecord
from jobs.settings import environment_without_secrets
from jobs.states import Status
from nlp.training.process import is_disk_full
from workers import training_view
from workers.training_view import CURVE_POINTS, TrainingLog, TrainingView


def step(number: int, steps: int = 1000) -> dict[str, Any]:
    return {"event": "step", "step": number, "steps": steps, "loss": 1 / number, "eta_seconds": 9.0}


def test_the_curve_stays_small_and_reaches_from_the_first_to_the_last_step() -> None:
    view = TrainingView()
    for number in range(1, 5001):
        view.take(step(number))
    curve = view.block()["curve"]
    assert CURVE_POINTS // 2 <= len(curve) <= CURVE_POINTS
    steps = [point[0] for point in curve]
    assert steps == sorted(steps)
    assert steps[0] < 200
    assert steps[-1] > 4800


def test_what_came_after_the_checkpoint_is_taken_back() -> None:
    view = TrainingView()
    for number in range(1, 9):
        view.take(step(number))
    view.take({"event": "evaluation", "step": 4, "metrics": {"f1": 0.5}})
    again = TrainingView(view.block())
    again.resume(5)
    block = again.block()
    assert (block["step"], block["loss"], block["eta_seconds"]) == (5, 0.2, None)
    assert [point[0] for point in block["curve"]] == [1, 2, 3, 4, 5]
    assert block["checkpoint"] == {"step": 5}
    assert block["evaluation"] == {"step": 4, "metrics": {"f1": 0.5}}


def test_how_many_processes_train_and_what_they_warn_of() -> None:
    view = TrainingView()
    view.take({"event": "phase", "name": "training", "processes": 2})
    for number in range(20):
        view.take({"event": "warning", "message": f"warning {number}"})
    again = TrainingView(view.block())
    assert again.block()["processes"] == 2
    assert again.block()["warnings"] == [f"warning {number}" for number in range(10, 20)]
    again.take({"event": "phase", "name": "training"})
    assert again.block()["processes"] == 1


def test_the_log_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_view, "LOG_BYTES", 10_000)
    log = TrainingLog(tmp_path / "log")
    for number in range(1, 5001):
        log.take(step(number))
        if number % 1000 == 0:
            log.take({"event": "evaluation", "step": number, "metrics": {"f1": 0.5}})
            log.take({"event": "checkpoint", "step": number, "folder": "/somewhere"})
    log.close()
    assert len(log.read()) <= 10_200
    entries = [orjson.loads(line) for line in log.read().splitlines()]
    marks = [one["step"] for one in entries if one["event"] in {"evaluation", "checkpoint"}]
    assert marks == [number for number in range(1000, 5001, 1000) for _ in range(2)]
    assert all("folder" not in one for one in entries)
    assert len(entries) > 50


def test_a_log_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    first = TrainingLog(tmp_path / "first")
    for number in range(1, 9):
        first.take(step(number))
    first.close()
    second = TrainingLog(tmp_path / "second")
    second.resume(first.read(), 5)
    second.take(step(6))
    second.close()
    assert [orjson.loads(line)["step"] for line in second.read().splitlines()] == [1, 2, 3, 4, 5, 6]


def test_progress_is_that_of_the_steps() -> None:
    record = JobRecord(
        id="job_x",
        tenant="default",
        kind="fine_tune",
        status=Status.IN_PROGRESS,
        created_at=0,
        started_at=0,
        now=1000,
        total=1,
        training={"step": 500, "steps": 1000, "eta_seconds": 12.5},
    )
    assert record.progress() == {
        "fraction": 0.495,
        "rows_per_second": None,
        "eta_seconds": 12.5,
    }


def test_a_full_disk_is_seen_whoever_says_it() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "no"))
    assert is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = OSError(errno.EDQUOT, "quota")
    assert is_disk_full(wrapped)
    assert not is_disk_full(OSError(errno.ENOENT, "no such file"))


def test_the_environment_of_a_training_holds_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEXTMILL_S3_SECRET_KEY", "TEXTMILL_REDIS_URL", "HF_TOKEN", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    found = environment_without_secrets()
    assert "secret" not in found.values()
    assert {found["OMP_NUM_THREADS"], found["TOKENIZERS_PARALLELISM"]} == {"2", "false"}
