"""``results`` and ``errors``."""

from __future__ import annotations

from pathlib import Path

import click

from textmill.cli.common import Session, connected, output_path
from textmill.cli.waiting import fetch

_output = click.option(
    "-o",
    "--output",
    metavar="PATH",
    callback=output_path,
    help="Save there, whole or not at all; else JSON lines go to stdout.",
)
_partial = click.option(
    "--partial", is_flag=True, help="Of a job that still runs: what is done so far, with gaps."
)


@click.command()
@click.argument("job_id", metavar="JOB")
@_output
@_partial
@connected
def results(session: Session, /, *, job_id: str, output: Path | None, partial: bool) -> None:
    """Fetch a job's results as JSON lines, in input order."""
    with session.client() as tm:
        fetch(session, tm, job_id, "results", output, partial=partial)


@click.command()
@click.argument("job_id", metavar="JOB")
@_output
@_partial
@connected
def errors(session: Session, /, *, job_id: str, output: Path | None, partial: bool) -> None:
    """Fetch the rows that failed as JSON lines, each with the reason."""
    with session.client() as tm:
        fetch(session, tm, job_id, "errors", output, partial=partial)
