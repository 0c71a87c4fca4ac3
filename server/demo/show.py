"""What the demo shows."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from server.supervisor import Event

if TYPE_CHECKING:
    from server.demo.modules import Tuned
    from server.demo.run import DemoJob
    from server.demo.translator import Taught
    from server.up import Stack
    from textmill import Job

#: Parts of a stack with one worker: two servers, two workers, scheduler, API.
_PARTS = 6

_EXAMPLES = 8
_SUMMARIES = 4
_DATES = 4


class JobLine:
    """One job's progress bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, job: Job) -> None:
        """Show this state of the job."""
        done, total = job.counts.done, job.counts.total
        rate = job.progress.rows_per_second
        words = str(job.status).replace("_", " ")
        if job.training is not None and job.training.steps and not job.ended:
            done, total = job.training.step or 0, job.training.steps
            words = "steps"
            if job.training.loss is not None:
                words += f" · loss {job.training.loss:.2f}"
        elif rate and done:
            words += f" · {rate:.1f} rows/s"
        self._progress.update(
            self._task,
            completed=done,
            total=total,
            note=words,
            count="" if total is None else f"{done}/{total}",
            refresh=True,
        )


class DemoScreen:
    """Prints the demo on a console; bars move only on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("[bold]{task.description:<10}"),
            BarColumn(bar_width=28, complete_style="cyan", finished_style="green"),
            TextColumn("{task.fields[count]}", justify="right"),
            TextColumn("[dim]{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._width = min(console.width, 100)
        self._stack_task: TaskID | None = None
        self._open = False

    def title(self) -> None:
        """The first words."""
        self._console.print()
        self._console.print(
            Panel(
                Group(
                    Text("Textmill demo", style="bold"),
                    Text(
                        "Text of this machine goes through the real thing: HTTP API, Redis queue, "
                        "model workers, S3 store.",
                    ),
                ),
                border_style="cyan",
                width=self._width,
            )
        )

    def starting(self, stack: Stack) -> None:
        """Begin to show the bars."""
        self._progress.start()
        self._open = True
        self._stack_task = self._progress.add_task(
            "stack", total=_PARTS, note="starting", count=f"0/{_PARTS}"
        )

    def event(self, event: Event) -> None:
        """A part of the stack came up, or did not."""
        if event.kind == "died":
            self._progress.console.print(f"[red]✗ {event.name} died: {escape(event.detail)}[/red]")
        if self._stack_task is None or not self._open:
            return
        task = self._progress.tasks[self._stack_task]
        if event.kind == "ready" and not task.finished:
            count = int(task.completed) + 1
            self._progress.update(
                self._stack_task,
                completed=count,
                count=f"{count}/{_PARTS}",
                note=f"{event.name} is ready",
            )
            if not self._console.is_terminal:
                self._console.print(f"  {event.name} ready after {event.seconds:.1f} s")

    def gathered(self, documents: int, summaries: int) -> None:
        """Say what text was found."""
        if self._stack_task is not None:
            self._progress.update(self._stack_task, completed=_PARTS, note="everything is ready")
        self._progress.console.print(
            f"  [cyan]{documents}[/cyan] docstrings of Python's standard library to sort by topic, "
            f"[cyan]{summaries}[/cyan] package descriptions to summarize",
        )

    def line(self, name: str, job: Job) -> JobLine:
        """A bar for a job."""
        task = self._progress.add_task(name, total=job.counts.total, note="submitted", count="")
        return JobLine(self._progress, task)

    def close(self) -> None:
        """Let the bars stand as they are."""
        if self._open:
            self._progress.stop()
            self._open = False

    # --- results -------------------------------------------------------------------------------------

    def classified(self, done: DemoJob) -> None:
        """Examples of labels, and how the topics are spread."""
        labels: Counter[str] = Counter()
        examples: dict[str, tuple[float, str]] = {}
        texts = {document.id: document.text for document in done.documents}
        for row in _rows(done.results):
            output = row["output"]
            label, score = output["label"], output["score"]
            labels[label] += 1
            if score > examples.get(label, (0.0, ""))[0]:
                examples[label] = (score, row["custom_id"])
        table = Table(
            title="classify: docstrings by topic, most certain of each",
            title_justify="left",
            title_style="bold",
            border_style="dim",
            width=self._width,
        )
        table.add_column("docstring", ratio=6, no_wrap=True, overflow="ellipsis")
        table.add_column("topic", ratio=4, no_wrap=True, style="cyan", overflow="ellipsis")
        table.add_column("score", justify="right", width=5)
        table.add_column("rows", justify="right", width=4)
        for label, count in labels.most_common(_EXAMPLES):
            score, name = examples[label]
            text = Text.assemble((name, "bold"), "  ", (_one_line(texts[name]), "dim"))
            table.add_row(text, label, f"{score:.2f}", str(count))
        self._console.print()
        self._console.print(table)

    def summarized(self, done: DemoJob) -> None:
        """Examples of summaries beside what they were made of."""
        texts = {document.id: document.text for document in done.documents}
        table = Table(
            title="summarize: what packages say of themselves",
            title_justify="left",
            title_style="bold",
            border_style="dim",
            width=self._width,
            show_lines=True,
        )
        table.add_column("description", ratio=1, style="dim")
        table.add_column("summary", ratio=1)
        for number, row in enumerate(_rows(done.results)):
            if number == _SUMMARIES:
                break
            start = _one_line(texts[row["custom_id"]], 190)
            table.add_row(escape(start), escape(row["output"]["summary"]))
        self._console.print()
        self._console.print(table)

    def tuned(self, tuned: Tuned) -> None:
        """The new model's figures beside those of what one would use without it, and what the next job made of it."""
        modules = tuned.labelled.modules
        table = Table(
            title=f"fine-tune: which of {len(modules)} modules a docstring is from "
            f"({', '.join(modules)})",
            title_justify="left",
            title_style="bold",
            border_style="dim",
        )
        rows = len(tuned.examples)
        table.add_column(f"on {rows} docstrings that it was not trained on")
        table.add_column("macro F1", justify="right")
        table.add_column("accuracy", justify="right")
        for name, metrics in (
            ("the new model", tuned.metrics),
            ("TF-IDF with logistic regression", tuned.baselines.get("tfidf", {})),
            ("always the most frequent module", tuned.baselines.get("majority", {})),
        ):
            figures = [metrics.get(one, math.nan) for one in ("macro_f1", "accuracy")]
            table.add_row(name, *(f"{figure:.3f}" for figure in figures))
        self._console.print()
        self._console.print(table)
        self._console.print(
            f"  classify with [bold]{tuned.labelling.raw['model']['ref']}[/bold], the next job: "
            f"{tuned.right} of {rows} right",
            highlight=False,
        )

    def taught(self, taught: Taught) -> None:
        """What the translator made from nothing writes, its mistakes first, and how often it is right."""
        table = Table(
            title="fine-tune from scratch, translate: dates from English to German",
            title_justify="left",
            title_style="bold",
            border_style="dim",
        )
        for name in ("date", "the new model", "Unicode CLDR"):
            table.add_column(name, no_wrap=True)
        shown = sorted(taught.examples, key=lambda one: one[0].german == one[1])[:_DATES]
        for pair, written in shown:
            colour = "green" if written == pair.german else "red"
            table.add_row(pair.english, f"[{colour}]{escape(written)}[/{colour}]", pair.german)
        self._console.print()
        self._console.print(table)
        exact = taught.metrics.get("exact_match", math.nan)
        self._console.print(
            f"  translate with [bold]{taught.translating.raw['model']['ref']}[/bold]: {taught.right} of "
            f"{taught.held_out} dates that it was not trained on are right (the training said {exact:.1%})",
            highlight=False,
        )

    def totals(self, stack: Stack, done: Sequence[DemoJob], jobs: Sequence[Job]) -> None:
        """Counts, speed, tokens, and where everything lies."""
        table = Table(title="jobs", title_justify="left", title_style="bold", border_style="dim")
        for name in ("job", "kind", "status"):
            table.add_column(name, no_wrap=True)
        for name in ("rows", "errors", "rows/s", "tokens"):
            table.add_column(name, justify="right")
        for job in jobs:
            rate = job.progress.rows_per_second
            tokens = job.usage.input_tokens + job.usage.output_tokens
            table.add_row(
                job.id,
                job.kind,
                f"[green]{job.status}[/green]"
                if job.status == "completed"
                else f"[red]{job.status}[/red]",
                f"{job.counts.completed}",
                f"{job.counts.failed}",
                f"{rate:.1f}" if rate else "",
                f"{tokens:,}",
            )
        self._console.print()
        self._console.print(table)
        places = Table.grid(padding=(0, 2))
        places.add_column(style="dim")
        places.add_column(overflow="fold")
        bucket = stack.services.config.s3_bucket
        places.add_row("in S3", f"s3://{bucket}/tenants/default/jobs/{done[0].job.id}/")
        places.add_row(
            "", "job.json · plan.json · shards/ · parts/ · results.jsonl · manifest.json"
        )
        places.add_row("on disk", _short(done[0].results.parent))
        places.add_row("logs", _short(stack.log_dir))
        self._console.print(places, highlight=False)
        self._console.print()

    def failed(self, reason: str) -> None:
        """Say why the demo could not go on."""
        self.close()
        self._console.print(f"[red]The demo could not go on: {escape(reason)}[/red]")

    def crashed(self) -> None:
        """Show an error that nobody expected."""
        self.close()
        self._console.print_exception()

    def interrupted(self) -> None:
        """Say that it was stopped."""
        self._console.print("Stopped. Run it again with: make demo")

    def goodbye(self, stack: Stack, *, done: bool) -> None:
        """The last words."""
        if done:
            self._console.print(
                f"[green]Done.[/green] The stack is stopped; see it again with "
                f"[bold]textmill-server up --data-dir {_short(stack.data_dir)}[/bold],\n"
                "or start your own with [bold]make up[/bold].",
                highlight=False,
            )
        else:
            self._console.print(f"[red]The demo failed.[/red] Logs: {_short(stack.log_dir)}")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _one_line(text: str, limit: int = 120) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
