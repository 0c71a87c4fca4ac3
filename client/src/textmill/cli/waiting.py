"""Waiting for a job on behalf of a person."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from textmill.cli.common import EXIT_INTERRUPTED, Session, next_step, write_bytes
from textmill.client import Textmill
from textmill.errors import JobFailed
from textmill.job import Job, JobState
from textmill.jobs import Output, OutputFormat
from textmill.panel import job_panel
from textmill.progress import JobProgress
from textmill.wording import plural, size


def wait_and_report(session: Session, tm: Textmill, job: Job, *, output: Path | None = None) -> Job:
    """Wait until the job ends, show how it ended, and save its results.

    Raises:
        JobFailed: after showing it, when the job did not complete; its ``hint`` says what to do next.
        click.exceptions.Exit: Ctrl-C, with status 130. The job goes on.
    """
    failure: JobFailed | None = None
    try:
        if session.json:
            job = job.wait()
        else:
            with JobProgress() as shown:
                job = job.wait(progress=shown.update)
    except JobFailed as error:
        job, failure = error.job, error
    except KeyboardInterrupt:
        session.note(
            Text(f"\nStopped waiting; job {job.id} goes on."),
            next_step("watch ", f"textmill watch {job.id}"),
            next_step("cancel", f"textmill cancel {job.id}"),
        )
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    if output == Path("-"):  # stdout belongs to the results
        session.note(Text(f"job {job.id} {job.status}"))
    else:
        session.show(job.raw, job_panel(job))
    if failure is not None:
        failure.hint = _after_failure(job)
        raise failure
    if job.counts.failed:
        session.note(row_errors(job))
    if output is not None:
        fetch(session, tm, job.id, "results", output)
    elif job.counts.completed:
        session.note(next_step("results", f"textmill results {job.id} -o results.jsonl"))
    return job


def row_errors(job: JobState) -> Text:
    """A warning about rows that failed in a job that completed."""
    total = plural(job.counts.total or job.counts.done, "row")
    return Text.assemble(
        ("Warning: ", "bold yellow"),
        f"{job.counts.failed:,} of {total} failed. See them: ",
        (f"textmill errors {job.id}", "bold"),
    )


def fetch(
    session: Session,
    tm: Textmill,
    job_id: str,
    output: Output,
    path: Path | None,
    *,
    partial: bool = False,
    format_: OutputFormat | None = None,
) -> None:
    """Save a job's results or errors, or stream them to stdout where no path is given.

    Args:
        format_: by default as the path's ending says; JSONL on stdout.
    """
    if path is None or path == Path("-"):
        content = tm.jobs.content(job_id, output, partial=partial, format=format_ or "jsonl")
        for chunk in content:
            write_bytes(chunk)
        return
    tm.jobs.download(job_id, path, output=output, partial=partial, format=format_)
    written = f" ({size(path.stat().st_size)})" if path.is_file() else ""
    session.note(Text.assemble(("saved  ", "dim"), (str(path), "bold"), (written, "dim")))


def _after_failure(job: JobState) -> str:
    done = f"textmill results {job.id}"
    kept = f" Rows done so far are kept: {done}" if job.counts.completed else ""
    if job.status == "failed":
        rows = f" Failed rows: textmill errors {job.id}." if job.counts.failed else ""
        return f"Mend the cause and submit again.{rows}{kept}"
    if job.status == "expired":
        return f"Submit again with more time or more workers.{kept}"
    return f"Submit again to run it whole.{kept}"
