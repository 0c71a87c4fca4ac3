"""How a job looks on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from textmill.job import Job
from textmill.wording import duration, plain, short_count, speed, state_style, state_words

#: Columns of a panel at most; wider ones are harder to read.
PANEL_WIDTH = 80
_LABEL_WIDTH = 6


def job_panel(job: Job, *, age: float = 0.0, spinner: Spinner | None = None) -> RenderableType:
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


def _headline(job: Job, style: str, spinner: Spinner | None) -> Table:
    row = Table.grid(expand=True, padding=(0, 1))
    row.add_column(width=1)
    row.add_column(ratio=1, no_wrap=True)
    row.add_column(justify="right", no_wrap=True)
    mark: RenderableType = spinner or Text(_MARKS.get(job.status, "●"), style=style)
    row.add_row(mark, Text(state_words(job.status), style=f"bold {style}"), _rows(job))
    return row


_MARKS = {"completed": "✓", "failed": "✗", "expired": "✗", "cancelled": "■"}


def _rows(job: Job) -> Text:
    counts = job.counts
    if counts.total is None:
        return Text(f"{counts.done:,} rows so far" if counts.done else "counting rows", style="dim")
    text = Text(f"{counts.done:,}", style="bold")
    return text.append(f" of {counts.total:,} rows", style="not bold")


def _bar(job: Job, style: str) -> Table:
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


def _facts(job: Job, age: float) -> Table:
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


def _model(job: Job) -> Table:
    model = job.model or {}
    known = (model.get(key) for key in ("ref", "engine", "precision"))
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(style="dim", width=_LABEL_WIDTH)
    line.add_column(overflow="fold")
    line.add_row("model", Text(" · ".join(plain(value) for value in known if value)))
    return line
