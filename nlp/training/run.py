"""A training from data to product: read, split, check, train, measure, save."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.errors import JobFailure
from jobs.rows import ModelProduct, Success
from jobs.training import INPUT, Stopped, TrainingRun
from nlp.training.card import ModelCard, base_facts, data_hash
from nlp.training.checkpoint import Progress, kept_by_task, read_curves, read_progress
from nlp.training.curves import CurveLog
from nlp.training.fields import check_row
from nlp.training.likeness import Likeness
from nlp.training.loop import Loop, Surroundings
from nlp.training.params import TrainingParams
from nlp.training.report import check_file, check_parts, data_report, lengths_of
from nlp.training.rows import TICK_ROWS, RowFile, Rows
from nlp.training.split import PARTS, Part, Shares, split
from nlp.training.task import Evaluation, Start, Task
from nlp.training.tasks import make_task

#: Fraction of the input that validation and test get where nothing is said, ...
_SHARE = 0.1
#: ... at most so many rows.
_MOST = 2000
#: Rows of a part that a model is measured on at most; of more, an even choice.
_MEASURED = 50_000


@dataclass(frozen=True)
class _Data:
    """Rows by part, and what there is to say of them."""

    files: Mapping[Part, RowFile]
    parts: Mapping[Part, Rows]
    facts: Mapping[str, Any]


def train(run: TrainingRun) -> Success:
    """Make the model; see :meth:`jobs.training.TrainingKind.train`."""
    params: TrainingParams = run.params
    progress = Progress(threads=torch.get_num_threads())
    if run.resume is not None:
        progress = read_progress(run.resume)
        torch.set_num_threads(progress.threads)
    run.report({"event": "phase", "name": "data"})

    def tick(_rows: int) -> None:
        if run.stopping():
            raise Stopped

    data = _read(run, params, tick)
    task = _task(run, params, data, tick)
    training = data.parts["training"]
    lengths, cut = lengths_of(task, training, tick)
    report = data_report(data.files, data.parts, task, lengths, {**data.facts, "cut_rows": cut})
    if run.resume is not None and progress.rows != len(training):
        raise JobFailure("internal_error", "The checkpoint is of a training with other rows.")
    progress.rows = len(training)
    run.report({"event": "phase", "name": "training"})
    curves = run.scratch / "curves.jsonl"
    if run.resume is not None:
        read_curves(run.resume, curves)
    curve_log = CurveLog(curves, progress.step)

    def report_step(event: Mapping[str, Any]) -> None:
        curve_log.add(event)
        run.report(event)

    around = Surroundings(run.device, run.scratch, curves, report_step, run.stopping)
    validation = _measured(data.parts["validation"])
    loop = Loop(
        task,
        rows=training,
        lengths=lengths,
        validation=validation,
        params=params,
        around=around,
        progress=progress,
        resume=run.resume,
    )
    progress = loop.run()
    run.report({"event": "phase", "name": "saving"})
    task.model.eval()
    task.save(run.product)
    run.report({"event": "phase", "name": "evaluation"})
    measured = _measure(task, run.product, data)
    _write(run.product / "data_report.json", report)
    _write(
        run.product / "evaluation.json",
        {
            "part": measured.part,
            "metrics": measured.metrics,
            "baselines": measured.baselines,
            **measured.details,
        },
    )
    curve_log.publish(run.product)
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


def _read(run: TrainingRun, params: TrainingParams, tick: Callable[[int], None]) -> _Data:
    """Read all files once, and put their rows into parts."""
    names: dict[Part, str] = {"training": INPUT, "validation": "validation", "test": "test"}
    files: dict[Part, RowFile] = {}
    for part, name in names.items():
        if name in run.data:
            files[part] = RowFile(run.data[name], lambda row: check_row(row, params), tick)
            check_file(name, files[part])
    ordered = list(files.values())
    everything = Rows(ordered, np.arange(sum(map(len, ordered))))
    likeness = Likeness(len(everything), run.scratch)
    for number, row in enumerate(everything):
        if number % TICK_ROWS == 0:
            tick(TICK_ROWS)
        likeness.add(row.text)
    groups = likeness.groups()
    given = np.repeat([PARTS.index(part) for part in files], list(map(len, ordered)))
    shares = Shares(
        validation=_share(params.validation), test=_share(params.test), most=_most(params)
    )
    found = split(groups, likeness.exact, given, shares, params.seed)
    parts = {part: Rows(ordered, places) for part, places in found.parts.items()}
    check_parts(
        parts,
        {"training": True, "validation": params.validation != 0, "test": params.test != 0},
    )
    different = likeness.different()
    facts = {
        "duplicates": {
            "same": len(everything) - different,
            "alike": different - len(np.unique(groups)),
        },
        "left_out": found.left_out,
    }
    return _Data(files, parts, facts)


def _task(
    run: TrainingRun, params: TrainingParams, data: _Data, tick: Callable[[int], None]
) -> Task:
    torch.manual_seed(params.seed)
    own = run.scratch / "task"
    own.mkdir(exist_ok=True)
    task = make_task(
        Start(
            base=run.base,
            reference=run.reference,
            params=params,
            device=run.device,
            rows=data.parts["training"],
            scratch=own,
            kept=kept_by_task(run.resume) if run.resume is not None else None,
            tick=tick,
        )
    )
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


def _measure(task: Task, folder: Path, data: _Data) -> _Measured:
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
        "hyper": asdict(task.hyper),
    }


def _card(
    run: TrainingRun,
    params: TrainingParams,
    data: _Data,
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


def _share(said: float | str | None) -> float:
    if isinstance(said, str):
        return 0.0
    return _SHARE if said is None else said


def _most(params: TrainingParams) -> tuple[int | None, int | None]:
    """Most rows of validation and test: bounded where the user names no fraction."""
    return (
        _MOST if params.validation is None else None,
        _MOST if params.test is None else None,
    )


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
