"""How a job looks on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from textmill.evaluation import Evaluation
from textmill.job import JobState
from textmill.table import metrics_table
from textmill.training import Training, sparkline
from textmill.wording import duration, plain, plural, short_count, speed, state_style, state_words

#: Columns of a panel at most; wider ones are harder to read.
PANEL_WIDTH = 80
_LABEL_WIDTH = 6
#: Characters of a loss curve, and metrics of an evaluation that are shown.
CURVE_WIDTH, _SHOWN_METRICS = 60, 4


def job_panel(job: JobState, *, age: float = 0.0, spinner: Spinner | None = None) -> RenderableType:
    """A job in a frame: state, bar, counts, speed, time left, model.

    Args:
        age: seconds since the job was read, by which the time left has shrunk.
        spinner: shown instead of the dot while the job moves.
    """
    style = state_style(job.status)
    title = Text(plain(job.kind), style="bold")
    if job.name:
        title.append(f" · {plain(job.name)}", style="bold")
    parts: list[RenderableType] = [_headline(job, style, spinner), _bar(job, style)]
    facts = _facts(job, age)
    if facts.row_count or job.model:
        parts.append(Text())
    if facts.row_count:
        parts.append(facts)
    if job.model:
        parts.append(_model(job))
    if job.training is not None:
        parts += [Text(), _training(job.training)]
    for told in [one.told() for one in (job.estimate, job.corpus) if one is not None]:
        parts += [Text(), Text(told)]
    if job.evaluation is not None:
        parts += [Text(), *_evaluation(job.evaluation)]
    if job.waiting and not job.ended:
        parts += [Text(), Text(f"waiting: {plain(job.waiting)}", style="yellow")]
    if job.error is not None:
        parts += [Text(), Text(f"{job.error.code}: {plain(job.error.message)}", style="red")]
    panel = Panel(
        Group(*parts),
        title=title,
        title_align="left",
        subtitle=Text(job.id, style="default"),
        subtitle_align="left",
        border_style=style,
        padding=(1, 2),
    )
    return Constrain(panel, PANEL_WIDTH)


def _headline(job: JobState, style: str, spinner: Spinner | None) -> Table:
    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(width=1)
    row.add_column(ratio=1, no_wrap=True)
    row.add_column(justify="right", no_wrap=True)
    mark: RenderableType = spinner or Text(_MARKS.get(job.status, "●"), style=style)
    row.add_row(mark, Text(state_words(job.status), style=f"bold {style}"), _rows(job))
    return row


_MARKS = {"completed": "✓", "failed": "✗", "expired": "✗", "cancelled": "■"}


def _rows(job: JobState) -> Text:
    counts = job.counts
    if job.training is not None and job.training.step is not None:
        text = Text(f"{job.training.step:,}", style="bold")
        return text.append(f" of {job.training.steps or 0:,} steps", style="not bold")
    if counts.total is None:
        return Text(f"{counts.done:,} rows so far" if counts.done else "counting rows", style="dim")
    text = Text(f"{counts.done:,}", style="bold")
    return text.append(f" of {counts.total:,} rows", style="not bold")


def _bar(job: JobState, style: str) -> Table:
    fraction = job.progress.fraction
    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True, width=6)
    bar = ProgressBar(
        total=1.0,
        completed=fraction or 0.0,
        complete_style=style,
        finished_style=style,
    )
    row.add_row(bar, Text("-" if fraction is None else _percent(fraction), style="bold"))
    return row


def _percent(fraction: float) -> str:
    """Never rounds up to 100 %: that would say done of a job that is not."""
    if fraction >= 1:
        return "100 %"
    return f"{min(99.9, int(fraction * 1000) / 10):.1f} %"


def _facts(job: JobState, age: float) -> Table:
    cells: list[tuple[str, Text]] = []
    if job.progress.rows_per_second is not None:
        cells.append(("speed", Text(speed(job.progress.rows_per_second))))
    if job.seconds is not None:
        cells.append(("took", Text(duration(job.seconds))))
    elif job.progress.eta_seconds is not None and not job.ended:
        cells.append(("left", Text(duration(max(0.0, job.progress.eta_seconds - age)))))
    if job.counts.done:
        failed = job.counts.failed
        cells.append(("errors", Text(f"{failed:,}", style="yellow" if failed else "")))
    if job.usage.input_tokens or job.usage.output_tokens:
        read, written = short_count(job.usage.input_tokens), short_count(job.usage.output_tokens)
        cells.append(("tokens", Text(f"{read} in, {written} out" if written != "0" else read)))
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for column in range(4):
        if column % 2 == 0:
            grid.add_column(style="dim", width=_LABEL_WIDTH)
        else:
            grid.add_column(ratio=1, no_wrap=True)
    for left, right in zip(cells[::2], [*cells[1::2], None], strict=False):
        grid.add_row(*left, *(right or ("", Text())))
    return grid


def _training(training: Training) -> Table:
    """The loss as a curve, and the last numbers."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", width=_LABEL_WIDTH)
    grid.add_column(overflow="fold")
    if training.curve:
        curve = sparkline([loss for _, loss in training.curve], CURVE_WIDTH)
        grid.add_row("loss", Text(curve, style="magenta"))
    now = [
        None if training.loss is None else f"loss {training.loss:.4g}",
        None if training.epoch is None else f"epoch {training.epoch:.2f}",
        None if training.learning_rate is None else f"rate {training.learning_rate:.2g}",
        None
        if training.tokens_per_second is None
        else f"{short_count(round(training.tokens_per_second))} tokens/s",
    ]
    if any(now):
        grid.add_row("now", Text(" · ".join(one for one in now if one)))
    if training.phase:
        grid.add_row("phase", Text(plain(training.phase)))
    if training.metrics:
        shown = [
            f"{plain(name)} {value:.4g}"
            for name, value in list(training.metrics.items())[:_SHOWN_METRICS]
            if value is not None
        ]
        grid.add_row("eval", Text(" · ".join([f"step {training.evaluated_at}", *shown])))
    if training.checkpoint is not None:
        grid.add_row("saved", Text(f"step {training.checkpoint:,}"))
    return grid


def _evaluation(evaluation: Evaluation) -> Iterator[RenderableType]:
    """The metrics beside the baselines', and what they were measured on."""
    if evaluation.problem:
        yield Text(f"not measured: {plain(evaluation.problem)}", style="yellow")
        return
    yield metrics_table("results", evaluation.metrics, evaluation.baselines)
    told = (
        f"on {plural(evaluation.rows, 'row')} with {plain(evaluation.gold_field or 'gold answers')}"
    )
    if evaluation.one_in > 1:
        told += f", one in {evaluation.one_in}"
    if evaluation.without_gold:
        told += f"; {evaluation.without_gold:,} without"
    yield Text(told, style="dim")


def _model(job: JobState) -> Table:
    model = job.model or {}
    known = (model.get(key) for key in ("ref", "engine", "precision"))
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(style="dim", width=_LABEL_WIDTH)
    line.add_column(overflow="fold")
    line.add_row("model", Text(" · ".join(plain(value) for value in known if value)))
    return line
