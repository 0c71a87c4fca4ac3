"""A training's state in a folder: gone on with, it ends in the same weights as if it had never stopped.

There is no random state in it, for that of each step follows from seed, step and rank; nor the order of the rows,
which follows from seed and epoch. See :mod:`nlp.training.sampler`. So one folder, written by rank 0, is the state of
all ranks, whose weights and optimizers are the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from jobs.errors import JobFailure

_FORMAT = 1
_STATE = "state.json"
_WEIGHTS = "model.safetensors"
_OPTIMIZER = "optimizer.pt"
_BEST = "best.safetensors"
_TASK = "task"
_CURVES = "curves.jsonl"


@dataclass
class Progress:
    """How far a training has come."""

    step: int = 0  #: steps of the optimizer, skipped ones included
    epoch: int = 0  #: whole ones
    batch: int = 0  #: batches done of the next one; all of them: its evaluation is due
    skipped: int = 0  #: steps in a row without a finite loss
    best: float | None = None  #: the metric's best value so far
    best_step: int | None = None
    stale: int = 0  #: evaluations since the best one
    evaluations: list[dict[str, Any]] = field(default_factory=list)  #: ``step`` and ``metrics``
    rows: int = 0  #: that are trained on
    threads: int = 0  #: that torch computes with: another number of them rounds sums otherwise
    seconds: float = 0.0  #: spent on steps
    processes: int = 1  #: that shared each batch: another number of them draws and rounds otherwise


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, by name; tied weights once."""
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def save_weights(model: nn.Module, path: Path) -> None:
    """Write what is trained."""
    save_file({name: one.detach().contiguous() for name, one in trained(model).items()}, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Read what :func:`save_weights` wrote."""
    tensors: Mapping[str, Tensor] = load_file(path)
    wanted = trained(model)
    if tensors.keys() != wanted.keys():
        odd = min(tensors.keys() ^ wanted.keys())
        raise JobFailure("internal_error", f"The checkpoint is of another model: {odd}.")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])


def write_checkpoint(
    folder: Path,
    progress: Progress,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    best: Path,
    curves: Path,
) -> Path:
    """Write all but what the task keeps.

    Args:
        folder: made here.
        best: weights of the best state, where there is one.
        curves: what was told so far, which is kept too.

    Returns:
        an empty folder for what the task keeps.
    """
    folder.mkdir()
    save_weights(model, folder / _WEIGHTS)
    torch.save(optimizer.state_dict(), folder / _OPTIMIZER)
    if progress.best_step is not None:
        shutil.copyfile(best, folder / _BEST)
    shutil.copyfile(curves, folder / _CURVES)
    state = {"format": _FORMAT, **asdict(progress)}
    (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")
    (folder / _TASK).mkdir()
    return folder / _TASK


def read_progress(folder: Path) -> Progress:
    """How far the training had come.

    Raises:
        JobFailure: another version of Textmill wrote the checkpoint.
    """
    state = json.loads((folder / _STATE).read_text("utf-8"))
    if state.pop("format") != _FORMAT:
        raise JobFailure("internal_error", "The checkpoint was written by another version.")
    return Progress(**state)


def read_state(
    folder: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer, best: Path
) -> None:
    """Put weights and optimizer back to what they were; ``best`` gets the weights of the best state."""
    load_weights(model, folder / _WEIGHTS)
    device = next(iter(trained(model).values())).device
    optimizer.load_state_dict(
        torch.load(folder / _OPTIMIZER, map_location=device, weights_only=True)
    )
    if progress.best_step is not None:
        shutil.copyfile(folder / _BEST, best)


def kept_by_task(folder: Path) -> Path:
    """The folder that the task filled."""
    return folder / _TASK


def read_curves(folder: Path, curves: Path) -> None:
    """Bring back what was told until the checkpoint."""
    shutil.copyfile(folder / _CURVES, curves)
