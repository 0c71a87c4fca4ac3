"""Steps of an optimizer over batches, with evaluations, checkpoints and an end."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
import torch
from torch import nn

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.rows import Row
from jobs.training import Stopped
from nlp.batching import is_out_of_memory
from nlp.precision import compute_dtype
from nlp.training.checkpoint import (
    Progress,
    load_weights,
    read_state,
    save_weights,
    trained,
    write_checkpoint,
)
from nlp.training.hyper import Hyper
from nlp.training.params import TrainingParams
from nlp.training.replicas import Replicas
from nlp.training.sampler import Batches, batches
from nlp.training.task import Task

log = structlog.get_logger(__name__)

#: Steps without a finite loss in a row after which there is no hope.
_HOPELESS = 5
#: Seconds between two reports of steps.
_REPORT_SECONDS = 1.0
#: Seconds of training from which on its end is worth a checkpoint.
_WORTH_SECONDS = 60.0


@dataclass(frozen=True)
class Surroundings:
    """What the loop asks and tells while it runs; as in :class:`jobs.training.TrainingRun`."""

    device: Device
    scratch: Path
    curves: Path  #: what is reported, as :class:`nlp.training.curves.CurveLog` keeps it
    report: Callable[[Mapping[str, Any]], None]
    stopping: Callable[[], bool]
    replicas: Replicas


class Loop:
    """One training; with several replicas the part of one of them, of which the first also measures and saves.

    Args:
        rows: to train on.
        lengths: theirs, in tokens.
        validation: rows that say which state is best; with none the last state is taken.
        progress: where to begin.
        resume: the checkpoint that ``progress`` was read from.
    """

    def __init__(
        self,
        task: Task,
        *,
        rows: Sequence[Row],
        lengths: npt.NDArray[np.int32],
        validation: Sequence[Row],
        params: TrainingParams,
        around: Surroundings,
        progress: Progress,
        resume: Path | None,
    ) -> None:
        self._task = task
        self._hyper = task.hyper
        self._rows = rows
        self._lengths = lengths
        self._validation = validation
        self._params = params
        self._around = around
        self._replicas = around.replicas
        self._progress = progress
        self._best = around.scratch / "best.safetensors"
        self._parameters = list(trained(task.model).values())
        self._optimizer = _optimizer(task.model, self._hyper)
        self._metric = params.metric or task.metric
        if resume is not None:
            read_state(resume, progress, task.model, self._optimizer, self._best)
        self._replicas.follow(self._parameters)
        dtype = compute_dtype(around.device, params.precision)
        self._autocast = torch.autocast(
            around.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16
        )
        self._saved = time.monotonic()
        self._saved_step = progress.step if resume is not None else -1
        self._meter = _Meter(around.report, progress, self._hyper.epochs)

    def run(self) -> Progress:
        """Train to the end, and leave the model in its best state.

        Raises:
            Stopped: it was asked to stop; a checkpoint was reported.
            JobFailure: ``training_diverged``, or ``model_too_large``.
        """
        progress, hyper = self._progress, self._hyper
        leads = self._replicas.leads
        if leads and self._params.metric and self._validation and not progress.step:
            self._measured(
                self._validation[:2]
            )  # whether there is such a metric, before hours of work
        self._saved = time.monotonic()
        while progress.epoch < hyper.epochs and not self._stale():
            epoch = self._batches(progress.epoch)
            end = min(len(epoch), math.ceil((hyper.epochs - progress.epoch) * len(epoch)))
            while progress.batch < end:
                started = time.monotonic()
                chosen = epoch[
                    progress.batch : min(progress.batch + hyper.gradient_accumulation, end)
                ]
                before = progress.batch
                progress.batch += len(chosen)
                middle = progress.epoch + (before + progress.batch) / 2 / len(epoch)
                rate = learning_rate(hyper, middle / hyper.epochs)
                loss, tokens = self._step(chosen, rate)
                progress.step += 1
                progress.seconds += time.monotonic() - started
                share = (progress.epoch + progress.batch / len(epoch)) / hyper.epochs
                self._meter.step(progress, loss, rate, tokens, min(1.0, share))
                stopping = self._around.stopping()
                if stopping or (leads and self._unsaved() >= self._params.checkpoint_seconds):
                    self._checkpoint()
                if stopping:
                    raise Stopped
            try:
                self._evaluate()
            except Stopped:
                self._checkpoint()  # gone on with, it is evaluated again
                raise
            progress.epoch, progress.batch = progress.epoch + 1, 0
        if not leads:
            return progress
        if self._unsaved() >= min(_WORTH_SECONDS, self._params.checkpoint_seconds):
            self._checkpoint()  # what follows can take long too
        if progress.best_step not in {None, progress.step}:
            load_weights(self._task.model, self._best)
        return progress

    def _batches(self, epoch: int) -> Batches:
        hyper = self._hyper
        return batches(
            self._lengths,
            rows=hyper.batch_size,
            tokens=hyper.batch_tokens,
            seed=self._params.seed,
            epoch=epoch,
        )

    def _stale(self) -> bool:
        patience = self._hyper.early_stopping
        return patience is not None and self._progress.stale >= patience

    def _step(self, chosen: Sequence[npt.NDArray[np.int64]], rate: float) -> tuple[float, int]:
        """One step of the optimizer over some batches; the mean loss, and the tokens read."""
        task, progress = self._task, self._progress
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(_step_seed(self._params.seed, progress.step, self._replicas.rank))
        task.model.train()
        total = 0.0
        count = tokens = 0
        shares = [share for batch in chosen if len(share := self._replicas.share(batch))]
        try:
            for batch in shares:
                examples = [task.example(self._rows[int(number)]) for number in batch]
                tokens += sum(example.tokens for example in examples)
                with self._autocast:
                    loss, number = task.loss(examples)
                total += float(loss.detach())
                count += number
                if not math.isfinite(total):
                    break
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            total, *counts = self._replicas.summed([total, count, tokens])
            count, tokens = map(round, counts)
            if math.isfinite(total):
                self._replicas.add_gradients(self._parameters)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise JobFailure(
                "model_too_large",
                f"A batch of {max(map(len, shares), default=0)} rows does not fit into the memory of "
                f"{self._around.device.name}: lower batch_tokens or batch_size, or set gradient_checkpointing.",
                field="params.batch_tokens",
            ) from error
        mean = total / max(1, count)
        if math.isfinite(total) and self._apply(count):
            progress.skipped = 0
        else:
            self._skip(mean)
        return mean, tokens

    def _apply(self, count: int) -> bool:
        """Follow the gradients, which are sums over ``count`` labels or tokens; False where they are not finite."""
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad.div_(max(1, count))
        norm = nn.utils.clip_grad_norm_(self._parameters, self._hyper.clip)
        if not bool(torch.isfinite(norm)):
            return False
        self._optimizer.step()
        self._task.stepped()
        return True

    def _skip(self, loss: float) -> None:
        self._progress.skipped += 1
        step = self._progress.step
        log.warning("step skipped", step=step, loss=loss)
        if self._progress.skipped >= _HOPELESS:
            raise JobFailure(
                "training_diverged",
                f"Loss or gradients were not finite for {_HOPELESS} steps in a row, up to step {step}: lower "
                f"params.learning_rate, which is {self._hyper.learning_rate:g}.",
                field="params.learning_rate",
            )

    def _evaluate(self) -> None:
        if not self._validation:
            return
        if self._replicas.leads:
            self._compare()
        self._progress.stale = self._replicas.told(self._progress.stale)

    def _compare(self) -> None:
        """Measure the model, and keep it where it is the best so far."""
        progress, task = self._progress, self._task
        task.model.eval()
        metrics = self._measured(self._validation)
        progress.evaluations.append({"step": progress.step, "metrics": metrics})
        self._around.report({"event": "evaluation", "step": progress.step, "metrics": metrics})
        value = metrics[self._metric]
        if self._is_better(value, progress.best):
            progress.best, progress.best_step, progress.stale = value, progress.step, 0
            save_weights(task.model, self._best)
        else:
            progress.stale += 1

    def _measured(self, rows: Sequence[Row]) -> dict[str, float]:
        metrics = dict(self._task.evaluate(rows).metrics)
        if self._metric not in metrics:
            raise JobFailure(
                "invalid_params",
                f"Unknown metric {self._metric!r}: expected one of {', '.join(sorted(metrics))}.",
                field="params.metric",
            )
        return metrics

    def _is_better(self, value: float, best: float | None) -> bool:
        if math.isnan(value):
            return False
        if best is None:
            return True
        return value > best if self._task.higher_is_better else value < best

    def _unsaved(self) -> float:
        return time.monotonic() - self._saved

    def _checkpoint(self) -> None:
        progress = self._progress
        if self._saved_step == progress.step:
            return  # going on from it leads here
        folder = self._around.scratch / f"checkpoint-{progress.step}"
        shutil.rmtree(folder, ignore_errors=True)  # half of one, from a process that was killed
        kept = write_checkpoint(
            folder,
            progress,
            self._task.model,
            self._optimizer,
            best=self._best,
            curves=self._around.curves,
        )
        self._task.keep(kept)
        self._around.report({"event": "checkpoint", "step": progress.step, "folder": str(folder)})
        self._saved, self._saved_step = time.monotonic(), progress.step


def learning_rate(hyper: Hyper, share: float) -> float:
    """The learning rate when this share of the training, 0 to 1, is done."""
    if share < hyper.warmup:
        return hyper.learning_rate * share / hyper.warmup
    left = min(1.0, (1 - share) / (1 - hyper.warmup))
    if hyper.schedule == "constant":
        return hyper.learning_rate
    if hyper.schedule == "cosine":
        return hyper.learning_rate * (1 - math.cos(math.pi * left)) / 2
    return hyper.learning_rate * left


def _optimizer(model: nn.Module, hyper: Hyper) -> torch.optim.Optimizer:
    """AdamW that lets biases and norms, which have one dimension, be as large as they like."""
    parameters = list(trained(model).values())
    groups = [
        {
            "params": [one for one in parameters if one.dim() > 1],
            "weight_decay": hyper.weight_decay,
        },
        {"params": [one for one in parameters if one.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=hyper.learning_rate,
        betas=hyper.betas,
        fused=True,
    )


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Far apart for neighbouring steps, seeds and ranks."""
    entropy = [seed, step, rank] if rank else [seed, step]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


class _Meter:
    """Tells of steps, not of each."""

    def __init__(
        self, report: Callable[[Mapping[str, Any]], None], progress: Progress, epochs: float
    ) -> None:
        self._report = report
        self._epochs = epochs
        self._told = self._started = time.monotonic()
        self._began: float | None = None  # share of the training that was done before
        self._losses: list[float] = []
        self._tokens = 0

    def step(self, progress: Progress, loss: float, rate: float, tokens: int, share: float) -> None:
        now = time.monotonic()
        self._tokens += tokens
        if math.isfinite(loss):
            self._losses.append(loss)
        steps = max(progress.step, round(progress.step / share))
        if self._began is None:
            self._began = share * (progress.step - 1) / progress.step
        if now - self._told < _REPORT_SECONDS and progress.step not in {1, steps}:
            return
        done = max(share - self._began, 1e-9)
        self._report(
            {
                "event": "step",
                "step": progress.step,
                "steps": steps,
                "epoch": round(share * self._epochs, 3),
                "loss": sum(self._losses) / len(self._losses) if self._losses else None,
                "learning_rate": rate,
                "tokens_per_second": self._tokens / max(now - self._told, 1e-9),
                "eta_seconds": (now - self._started) * (1 - share) / done,
            }
        )
        self._told, self._losses, self._tokens = now, [], 0
