"""``sums``: a training without torch, in which each step adds up one row; exact, slow and ill on demand."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import orjson
from pydantic import Field

from jobs.errors import JobFailure
from jobs.kinds import KindParams
from jobs.rows import ModelProduct, Row, RowFailure, Success, Usage, decode_shard_row
from jobs.training import INPUT, Stopped, TrainingKind, TrainingRun


class SumsParams(KindParams):
    """How to add up."""

    output_name: str = Field(description="Name in the registry.")
    steps: int = Field(default=20, ge=1, description="Steps.")
    step_ms: float = Field(default=0, ge=0, description="Time that each step takes.")
    checkpoint_every: int = Field(default=5, ge=1, description="Steps between checkpoints.")
    checkpoint_bytes: int = Field(default=0, ge=0, description="Ballast in each checkpoint.")
    model_bytes: int = Field(default=0, ge=0, description="Ballast in the model.")
    validation: str | None = Field(default=None, description="Id of a file.")
    weight_field: str | None = Field(default=None, description="Field that is read too.")
    kill_at: int | None = Field(default=None, description="Step before which it kills itself.")
    kill_after: int | None = Field(default=None, description="Steps after which it does so.")
    hang_at: int | None = Field(default=None, description="Where it began anew: as kill_at.")
    fail_at: int | None = Field(default=None, description="Step before which the job fails.")
    break_at: int | None = Field(default=None, description="Step before which it shows a bug.")
    fill_at: int | None = Field(default=None, description="Where it began anew: a full disk.")
    ill_rank: int | None = Field(default=None, description="Rank whose memory is too small.")
    broken_rank: int | None = Field(default=None, description="Rank that shows a bug.")


class Sums(TrainingKind):
    """A digest over all rows, over and over."""

    name: ClassVar[str] = "sums"
    summary: ClassVar[str] = "Add up rows"
    Params: ClassVar[type[KindParams]] = SumsParams
    divides: ClassVar[bool] = True

    def fields_of(self, params: SumsParams) -> frozenset[str]:
        return frozenset([params.weight_field] if params.weight_field else [])

    def files(self, params: SumsParams) -> Mapping[str, str]:
        return {} if params.validation is None else {"validation": params.validation}

    def check(self, row: Row, params: SumsParams) -> RowFailure | None:
        return RowFailure("bad_sum", "not to be added") if row.text == "bad" else None

    def train(self, run: TrainingRun) -> Success:
        params: SumsParams = run.params
        leaked = [name for name in os.environ if name.startswith("TEXTMILL_")]
        if leaked:
            raise JobFailure("kind_broken", f"secrets in the environment: {leaked}")
        if run.ranks.rank:
            return self._stand_by(run)
        run.report({"event": "phase", "name": "data"})
        rows = [row for row in _rows(run.data[INPUT]) if isinstance(row, Row)]
        state, begun = hashlib.sha256(run.reference.encode()).hexdigest(), 0
        if run.resume is not None:
            saved = orjson.loads((run.resume / "state.json").read_bytes())
            state, begun = saved["state"], saved["step"]
        run.report({"event": "phase", "name": f"training from {begun}"})
        for step in range(begun, params.steps):
            self._suffer(step, begun, params)
            time.sleep(params.step_ms / 1000)
            row = rows[step % len(rows)]
            weight = row.fields.get(params.weight_field) if params.weight_field else 1
            state = hashlib.sha256(f"{state} {row.text} {weight}".encode()).hexdigest()
            done = step + 1
            run.report(
                {
                    "event": "step",
                    "step": done,
                    "steps": params.steps,
                    "epoch": done / len(rows),
                    "loss": 1 / done,
                    "learning_rate": 0.1,
                    "tokens_per_second": 100.0,
                    "eta_seconds": (params.steps - done) * params.step_ms / 1000,
                }
            )
            if run.stopping():
                self._checkpoint(run, done, state)
                raise Stopped
            if done % params.checkpoint_every == 0:
                self._checkpoint(run, done, state)
        run.report({"event": "evaluation", "step": params.steps, "metrics": {"accuracy": 0.5}})
        run.report({"event": "phase", "name": "saving"})
        validation = list(_rows(run.data["validation"])) if params.validation else []
        model = {"state": state, "base": None if run.base is None else run.base.name}
        (run.product / "model.json").write_bytes(orjson.dumps(model))
        if params.model_bytes:
            (run.product / "ballast").write_bytes(bytes(params.model_bytes))
        if run.ranks.meeting is not None:
            (run.ranks.meeting / "done").touch()
        metrics = {"rows": len(rows), "validation": len(validation)}
        product = ModelProduct(params.output_name, run.product, run.source, {"metrics": metrics})
        return Success({"metrics": metrics}, Usage(input_tokens=params.steps), product)

    def _stand_by(self, run: TrainingRun) -> Success:
        """What ranks behind the first do: rank 0 adds up alone."""
        if run.ranks.rank == run.params.ill_rank:
            raise JobFailure("model_too_large", f"rank {run.ranks.rank} has no memory")
        if run.ranks.rank == run.params.broken_rank:
            raise ZeroDivisionError("a bug in one rank")
        assert run.ranks.meeting is not None
        while not (run.ranks.meeting / "done").exists():
            run.stopping()
            time.sleep(0.02)
        return Success({})

    def _checkpoint(self, run: TrainingRun, step: int, state: str) -> None:
        folder = run.scratch / f"checkpoint-{step}"
        (folder / "deeper").mkdir(parents=True)
        (folder / "state.json").write_bytes(orjson.dumps({"step": step, "state": state}))
        (folder / "deeper" / "ballast").write_bytes(bytes(run.params.checkpoint_bytes))
        run.report({"event": "checkpoint", "step": step, "folder": str(folder)})

    def _suffer(self, step: int, begun: int, params: SumsParams) -> None:
        if step in {params.kill_at, begun + (params.kill_after or params.steps)}:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == params.hang_at and not begun:
            time.sleep(3600)
        if step == params.fail_at:
            raise JobFailure("invalid_params", "these numbers do not add up", field="params.steps")
        if step == params.break_at:
            raise ZeroDivisionError("a bug in the sums")
        if step == params.fill_at and not begun:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _rows(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from map(decode_shard_row, file)


def expected_state(texts: list[str], steps: int, reference: str) -> str:
    """What comes of these rows where nothing disturbs the training."""
    state = hashlib.sha256(reference.encode()).hexdigest()
    for step in range(steps):
        state = hashlib.sha256(f"{state} {texts[step % len(texts)]} 1".encode()).hexdigest()
    return state
