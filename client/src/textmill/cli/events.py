"""``events``: what happened to a job, and what happens."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
from rich.console import Console
from rich.text import Text

from textmill.cli.common import Session, connected, write_bytes
from textmill.events import Event
from textmill.training import Training
from textmill.wording import plain


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--follow", is_flag=True, help="Go on until the job ends.")
@click.option("--after", metavar="EVENT", help="Only what came behind the event of this id.")
@connected
def events(session: Session, /, *, job_id: str, follow: bool, after: str | None) -> None:
    """Show what happened to a job; with --follow, what happens until it ends.

    With --json, one object a line: the event's `id`, `event` and its data.
    """
    with session.client() as tm:
        for event in tm.jobs.events(job_id, follow=follow, after=after):
            if session.json:
                entry = {"id": event.id, "event": event.event, **event.raw}
                write_bytes(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            else:
                Console().print(_line(event), soft_wrap=True)


def _line(event: Event) -> Text:
    time = event.at.astimezone().strftime("%H:%M:%S") if event.at else ""
    return Text.assemble(
        (f"{time}  ", "dim"), (f"{event.status:<11} ", "bold"), "  ".join(_facts(event))
    )


def _facts(event: Event) -> Iterator[str]:
    counts = event.counts
    if counts.done or counts.total is not None:
        total = "?" if counts.total is None else f"{counts.total:,}"
        yield f"{counts.done:,} of {total}"
    if counts.failed:
        yield f"{counts.failed:,} failed"
    if event.attempts > 1:
        yield f"attempt {event.attempts}"
    if event.training is not None:
        yield from _training(event.training)
    if event.waiting:
        yield f"waiting: {plain(event.waiting)}"
    if event.error is not None:
        yield plain(f"{event.error.code}: {event.error.message}")


def _training(training: Training) -> Iterator[str]:
    if training.phase:
        yield plain(training.phase)
    if training.step is not None:
        yield f"step {training.step:,} of {training.steps or 0:,}"
    if training.loss is not None:
        yield f"loss {training.loss:.4f}"
    if training.tokens_per_second is not None:
        yield f"{training.tokens_per_second:,.0f} tokens/s"
    if training.eta_seconds is not None:
        yield f"{training.eta_seconds:,.0f} s left"
