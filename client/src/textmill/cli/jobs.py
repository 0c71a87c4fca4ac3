"""``status``, ``watch``, ``list``, ``cancel``, ``retry`` and ``delete``."""

from __future__ import annotations

import click
from rich.text import Text

from textmill.cli.common import Session, connected, next_step
from textmill.cli.tables import jobs_table, now
from textmill.cli.waiting import row_errors, wait_and_report
from textmill.paging import MAX_PAGE
from textmill.panel import job_panel


@click.command()
@click.argument("job_id", metavar="JOB")
@connected
def status(session: Session, /, *, job_id: str) -> None:
    """Show a job."""
    with session.client() as tm:
        job = tm.jobs.get(job_id)
    session.show(job.raw, job_panel(job))
    if job.status == "completed" and job.counts.failed:
        session.note(row_errors(job))


@click.command()
@click.argument("job_id", metavar="JOB")
@connected
def watch(session: Session, /, *, job_id: str) -> None:
    """Follow a job until it ends. Ctrl-C stops watching, not the job."""
    with session.client() as tm:
        wait_and_report(session, tm, tm.jobs.get(job_id))


@click.command("list")
@click.option("--status", "status_", metavar="STATE", help="Only jobs in this state.")
@click.option("--kind", help="Only jobs of this kind.")
@click.option("--name", help="Only jobs of this name.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=20, show_default=True)
@click.option("--after", metavar="JOB", help="Go on after this job of an earlier list.")
@connected
def list_jobs(
    session: Session,
    /,
    *,
    status_: str | None,
    kind: str | None,
    name: str | None,
    limit: int,
    after: str | None,
) -> None:
    """List jobs, newest first."""
    with session.client() as tm:
        page = tm.jobs.page(status=status_, kind=kind, name=name, after=after, limit=limit)
    shown = jobs_table(page.data, now()) if page.data else Text("No jobs.", style="dim")
    session.show(page.raw, shown)
    if page.has_more and page.next_after:
        chosen = {"--status": status_, "--kind": kind, "--name": name, "--after": page.next_after}
        options = " ".join(f"{option} {value}" for option, value in chosen.items() if value)
        session.note(next_step("more", f"textmill list {options}"))


@click.command()
@click.argument("job_id", metavar="JOB")
@connected
def cancel(session: Session, /, *, job_id: str) -> None:
    """Cancel a job. Rows done so far are kept."""
    with session.client() as tm:
        job = tm.jobs.cancel(job_id)
    session.show(job.raw, job_panel(job))


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--wait", is_flag=True, help="Wait until the job ends.")
@connected
def retry(session: Session, /, *, job_id: str, wait: bool) -> None:
    """Run again what failed in an ended job, only that."""
    with session.client() as tm:
        job = tm.jobs.retry(job_id)
        if wait:
            wait_and_report(session, tm, job)
            return
    session.show(job.raw, job_panel(job))
    session.note(next_step("watch", f"textmill watch {job.id}"))


@click.command(short_help="Delete an ended job with all that was kept of it.")
@click.argument("job_id", metavar="JOB")
@connected
def delete(session: Session, /, *, job_id: str) -> None:
    """Delete an ended job with its results and all else that was kept of it."""
    with session.client() as tm:
        tm.jobs.delete(job_id)
    session.show(None, Text(f"Deleted {job_id}."))
