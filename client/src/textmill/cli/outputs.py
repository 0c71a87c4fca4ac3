"""``results`` and ``errors``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from textmill.cli.common import Session, connected, output_path
from textmill.cli.waiting import fetch
from textmill.jobs import OUTPUT_FORMATS, Output, OutputFormat

F = TypeVar("F", bound=Callable[..., object])


def _options(command: F) -> F:
    for option in (
        click.option(
            "--partial",
            is_flag=True,
            help="Of a job that still runs: what is done so far, with gaps.",
        ),
        click.option(
            "--format",
            "format_",
            type=click.Choice(OUTPUT_FORMATS),
            help="By default from the name's ending, else jsonl.",
        ),
        click.option(
            "-o",
            "--output",
            metavar="PATH",
            callback=output_path,
            help="Save there, whole or not at all; else the rows go to stdout.",
        ),
        click.argument("job_id", metavar="JOB"),
    ):
        command = option(command)
    return command


@click.command(short_help="Fetch a job's results, or save them.")
@_options
@connected
def results(
    session: Session,
    /,
    *,
    job_id: str,
    output: Path | None,
    format_: OutputFormat | None,
    partial: bool,
) -> None:
    """Fetch a job's results in input order: as JSON lines, CSV or Parquet."""
    _fetch(session, job_id, "results", output, format_, partial=partial)


@click.command(short_help="Fetch the rows that failed, each with the reason.")
@_options
@connected
def errors(
    session: Session,
    /,
    *,
    job_id: str,
    output: Path | None,
    format_: OutputFormat | None,
    partial: bool,
) -> None:
    """Fetch the rows that failed, each with the reason: as JSON lines, CSV or Parquet."""
    _fetch(session, job_id, "errors", output, format_, partial=partial)


def _fetch(
    session: Session,
    job_id: str,
    output: Output,
    path: Path | None,
    format_: OutputFormat | None,
    *,
    partial: bool,
) -> None:
    if format_ == "parquet" and path in (None, Path("-")) and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal; save it: -o rows.parquet")
    with session.client() as tm:
        fetch(session, tm, job_id, output, path, partial=partial, format_=format_)
