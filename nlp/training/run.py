"""A training from data to product: read, split, check, train, measure, save."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from jobs.errors import JobFailure
from jobs.rows import ModelProduct, Success
from jobs.training import Stopped, TrainingRun
from nlp.training.card import ModelCard, base_facts, data_hash
from nlp.training.checkpoint import Progress, kept_by_task, read_curves, read_progress
from nlp.training.curves import CurveLog
from nlp.training.data import Data, read_data
from nlp.training.loop import Loop, Surroundings
from nlp.training.params import TrainingParams
from nlp.training.replicas import Replicas
from nlp.training.report import data_report, lengths_of
from nlp.training.rows import Rows
from nlp.training.split import Part
from nlp.training.task import Evaluation, Start, Task
from nlp.training.tasks import make_task

#: Rows of a part that a model is measured on at most; of more, an even choice.
_MEASURED = 50_000
#: Seconds between two looks for what the first rank has made.
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class _Learnt:
    """What there is when all steps are done."""

    data: Data
    task: Task
    report: Mapping[str, Any]  #: on the data
    curves: CurveLog
    progress: Progress


def train(run: TrainingRun) -> Success:
    """Make the model; see :meth:`jobs.training.TrainingKind.train`."""
    progress = _progress(run)
    torch.set_num_threads(progress.threads)
    run.report({"event": "phase", "name": "data"})
    learnt = _learn(run, progress)
    return _published(run, learnt) if run.ranks.leads else Success({})


def _progress(run: TrainingRun) -> Progress:
    """Where to begin, and with how many threads: processors are shared by the processes that use them."""
    count = run.ranks.count
    share = count if run.device.type == "cpu" else 1
    threads = max(1, torch.get_num_threads() // share)
    fresh = Progress(threads=threads, processes=count)
    if run.resume is None:
        return fresh
    found = read_progress(run.resume)
    if found.processes == count:
        return found
    run.report(
        {
            "event": "warning",
            "message": f"From step {found.step} on {count} processes train where {found.processes} did before: the "
            "result is as good, but not the same to the last bit as without an interruption.",
        }
    )
    return replace(found, threads=threads, processes=count)


def _learn(run: TrainingRun, progress: Progress) -> _Learnt:
    """Everything up to the model in its best state, which of several ranks the first one has."""
    params: TrainingParams = run.params

    def tick(_rows: int) -> None:
        if run.stopping():
            raise Stopped

    data = read_data(run, params, tick)
    task = _task(run, params, data, tick)
    training = data.parts["training"]
    lengths, cut = lengths_of(task, training, tick)
    report: Mapping[str, Any] = {}
    if run.ranks.leads:
        report = data_report(data.files, data.parts, task, lengths, {**data.facts, "cut_rows": cut})
    if run.resume is not None and progress.rows != len(training):
        raise JobFailure("internal_error", "The checkpoint is of a training with other rows.")
    progress.rows = len(training)
    processes = {"processes": run.ranks.count} if run.ranks.count > 1 else {}
    run.report({"event": "phase", "name": "training", **processes})
    curves = run.scratch / "curves.jsonl"
    if run.resume is not None:
        read_curves(run.resume, curves)
    curve_log = CurveLog(curves, progress.step)

    def report_step(event: Mapping[str, Any]) -> None:
        curve_log.add(event)
        run.report(event)

    validation = _measured(data.parts["validation"])
    # Not before: libraries behave otherwise in a process of several.
    with Replicas.joined(run.ranks, run.device) as replicas:
        loop = Loop(
            task,
            rows=training,
            lengths=lengths,
            validation=validation,
            params=params,
            around=Surroundings(
                run.device, run.scratch, curves, report_step, run.stopping, replicas
            ),
            progress=progress,
            resume=run.resume,
        )
        progress = loop.run()
    return _Learnt(data, task, report, curve_log, progress)


def _published(run: TrainingRun, learnt: _Learnt) -> Success:
    """Save and measure what was learnt."""
    params: TrainingParams = run.params
    data, task, progress = learnt.data, learnt.task, learnt.progress
    run.report({"event": "phase", "name": "saving"})
    task.model.eval()
    task.save(run.product)
    run.report({"event": "phase", "name": "evaluation"})
    measured = _measure(task, run.product, data)
    _write(run.product / "data_report.json", learnt.report)
    _write(
        run.product / "evaluation.json",
        {
            "part": measured.part,
            "metrics": measured.metrics,
            "baselines": measured.baselines,
            **measured.details,
        },
    )
    learnt.curves.publish(run.product)
    card = _card(run, params, data, measured, _training_facts(task, progress))
    card.write(run.product)
    output = {
        "metrics": measured.metrics,
        "baselines": measured.baselines,
        "measured_on": measured.part,
        "rows": card.rows,
    }
    product = ModelProduct(params.output_name, run.product, run.source, card.facts)
    return Success(output, product=product)


def _task(
    run: TrainingRun,
    params: TrainingParams,
    data: Data,
    tick: Callable[[int], None],
) -> Task:
    """The task with the model to be taught. What is not made the same twice is made once, by the first rank."""
    shared = None if run.ranks.meeting is None else run.ranks.meeting / "task"
    kept: Path | None = None
    if run.resume is not None:
        kept, shared = kept_by_task(run.resume), None
    elif shared is not None and not run.ranks.leads:
        while not shared.exists():
            tick(0)
            time.sleep(_LOOK_SECONDS)
        kept = shared
    own = run.scratch / "task"
    own.mkdir(exist_ok=True)
    torch.manual_seed(params.seed)
    task = make_task(
        Start(
            base=run.base,
            reference=run.reference,
            params=params,
            device=run.device,
            rows=data.parts["training"],
            scratch=own,
            kept=kept,
            tick=tick,
        )
    )
    if shared is not None and run.ranks.leads:
        partial = shared.with_suffix(".partial")
        partial.mkdir()
        task.keep(partial)
        partial.rename(shared)
    if params.gradient_checkpointing:
        model: Any = task.model
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if params.method == "lora":
            model.enable_input_require_grads()
    return task


@dataclass(frozen=True)
class _Measured:
    part: Part | None  #: whose rows it was
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    details: Mapping[str, Any]


def _measure(task: Task, folder: Path, data: Data) -> _Measured:
    """Model and baselines on rows that neither was trained on; those of validation where there are no others."""
    part: Part = "test" if len(data.parts["test"]) else "validation"
    rows = _measured(data.parts[part])
    if not len(rows):
        return _Measured(None, {}, {}, {})
    found: Evaluation = task.evaluate_saved(folder, rows)
    baselines = task.baselines(data.parts["training"], rows)
    return _Measured(part, found.metrics, baselines, found.details)


def _training_facts(task: Task, progress: Progress) -> dict[str, Any]:
    return {
        "steps": progress.step,
        "best_step": progress.best_step,
        "seconds": round(progress.seconds, 1),
        "threads": progress.threads,
        **({"processes": progress.processes} if progress.processes > 1 else {}),
        "hyper": asdict(task.hyper),
    }


def _card(
    run: TrainingRun,
    params: TrainingParams,
    data: Data,
    measured: _Measured,
    facts: Mapping[str, Any],
) -> ModelCard:
    licence, languages, lineage = base_facts(run.base, run.reference)
    return ModelCard(
        name=params.output_name,
        task=params.task,
        method=params.method,
        base=run.reference,
        job=run.source.removeprefix("job:"),
        data_hash=data_hash(run.data),
        rows={part: len(rows) for part, rows in data.parts.items()},
        params=params.model_dump(mode="json", exclude_none=True),
        metrics=measured.metrics,
        baselines=measured.baselines,
        details=measured.details,
        licence=licence,
        languages=languages,
        lineage=lineage,
        measured={"device": run.device.name, **facts},
    )


def _measured(rows: Rows) -> Rows:
    step = -(-len(rows) // _MEASURED)
    return rows[::step] if step > 1 else rows


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
