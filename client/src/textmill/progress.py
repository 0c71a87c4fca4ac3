"""Live progress on stderr: a panel or a bar on a terminal, sparse plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.spinner import Spinner

from textmill.job import JobState
from textmill.panel import job_panel
from textmill.wording import duration, plural, speed, state_style, state_words

if TYPE_CHECKING:
    from typing_extensions import Self

#: Without a terminal a line is printed after each such share of the rows…
LINE_SHARE = 0.1
#: …or after so many seconds, and whenever the state changes.
LINE_SECONDS = 30.0


class JobProgress:
    """Shows a job while it is waited for. Give :meth:`update` to :meth:`textmill.Job.wait`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._job: JobState | None = None
        self._read_at = 0.0
        self._spinner = Spinner("dots")
        self._lines = PlainLines()

    def update(self, job: JobState) -> None:
        """Show this state of the job."""
        self._job, self._read_at = job, time.monotonic()
        self._spinner.style = state_style(job.status)
        if self._live is not None:
            self._live.refresh()
        elif line := self._lines.next(job, self._read_at):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            # Drawn anew while nothing arrives, so that the spinner turns and the time left shrinks. It vanishes
            # at the end: what remains on the screen is for the caller to say.
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=8,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        if self._job is None:
            return ""
        age = time.monotonic() - self._read_at
        return job_panel(self._job, age=age, spinner=None if self._job.ended else self._spinner)


class PlainLines:
    """Decides when a plain line is due. Pure but for what it remembers."""

    def __init__(self) -> None:
        self._status: str | None = None
        self._fraction = 0.0
        self._at = 0.0

    def next(self, job: JobState, now: float) -> str | None:
        """The line to print at this moment (seconds of any steady clock), or None."""
        fraction = job.progress.fraction or 0.0
        due = (
            job.status != self._status
            or fraction - self._fraction >= LINE_SHARE
            or now - self._at >= LINE_SECONDS
        )
        if not due:
            return None
        self._status, self._fraction, self._at = job.status, fraction, now
        return job_line(job)


def job_line(job: JobState) -> str:
    """A job on one plain line."""
    counts, progress = job.counts, job.progress
    parts = [f"{job.id}  {state_words(job.status)}"]
    training = job.training
    if training is not None and training.step is not None and not job.ended:
        parts.append(f"step {training.step:,} of {training.steps or 0:,}")
        if training.loss is not None:
            parts.append(f"loss {training.loss:.4g}")
    elif counts.total is not None:
        parts.append(f"{counts.done:,} of {plural(counts.total, 'row')}")
    elif counts.done:
        parts.append(f"{plural(counts.done, 'row')} so far")
    if counts.failed:
        parts.append(plural(counts.failed, "error"))
    if progress.rows_per_second is not None:
        parts.append(speed(progress.rows_per_second))
    if job.seconds is not None:
        parts.append(f"took {duration(job.seconds)}")
    elif progress.eta_seconds is not None and not job.ended:
        parts.append(f"{duration(progress.eta_seconds)} left")
    return ", ".join(parts)


class TransferBar:
    """Shows an upload or a download. Give :meth:`update` as ``progress``."""

    def __init__(
        self, name: str, console: Console | None = None, *, action: str = "upload"
    ) -> None:
        self._console = console or Console(stderr=True)
        self._text = f"{action} {name}"
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def update(self, sent: int, total: int | None) -> None:
        """Show how much is there. Without a terminal nothing is shown."""
        if not self._console.is_terminal:
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(complete_style="blue", finished_style="green"),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(compact=True),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task(self._text, total=total)
            self._progress.start()
        if self._task is not None:
            self._progress.update(self._task, completed=sent, total=total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
