"""``schedules``: jobs that are submitted by the clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from textmill.call import given
from textmill.cli.common import Session, connected, next_step
from textmill.client import Textmill
from textmill.deliveries import Delivery
from textmill.errors import JobFailed, WaitTimeout
from textmill.job import Job
from textmill.paging import MAX_PAGE
from textmill.progress import JobProgress
from textmill.schedules import OPEN, Run, Schedule
from textmill.table import bare_table
from textmill.wording import plain

#: Seconds between two looks at which jobs of a run have begun.
_LOOK_SECONDS = 2.0


@click.group()
def schedules() -> None:
    """Submit jobs by the clock."""


@schedules.command()
@click.option(
    "--job",
    metavar="PATH|-",
    help="A JSON file with the job that each firing submits, as the body of POST /v1/jobs; - for stdin.",
)
@click.option(
    "--then", metavar="PATH|-", help="A JSON file with the list of jobs that follow it in each run."
)
@click.option(
    "--from",
    "whole",
    metavar="PATH|-",
    help="A JSON file with all of it, as the body of POST /v1/schedules; options replace what it says.",
)
@click.option("--webhook-url", metavar="URL", help="Told when it is late, failed or was paused.")
@click.option(
    "--webhook-secret",
    metavar="SECRET",
    envvar="TEXTMILL_WEBHOOK_SECRET",
    help="What that is signed with, whsec_…; better given by TEXTMILL_WEBHOOK_SECRET.",
)
@click.option("--cron", metavar="EXPR", help="Five fields, such as '30 2 * * *'.")
@click.option("--every", type=click.IntRange(60), metavar="SECONDS", help="A fixed interval.")
@click.option("--timezone", metavar="ZONE", help="That --cron is meant in; by default UTC.")
@click.option("--name", metavar="NAME", help="A name for people.")
@click.option("--starts-at", metavar="TIME", help="No firing before; RFC 3339 with an offset.")
@click.option("--ends-at", metavar="TIME", help="No firing from then on.")
@click.option("--jitter-seconds", type=click.IntRange(0, 3600))
@click.option("--missed", type=click.Choice(["run_once", "run_all", "skip"]))
@click.option("--missed-window-seconds", type=click.IntRange(300))
@click.option("--overlap", type=click.Choice(["skip", "queue", "cancel_previous"]))
@click.option("--retries", type=click.IntRange(0, 10), help="Of a run that failed.")
@click.option("--pause-after-failures", type=click.IntRange(1, 100), help="Failed runs in a row.")
@click.option("--complete-within-seconds", type=click.IntRange(60), help="Else it counts as late.")
@click.option(
    "--incremental",
    is_flag=True,
    default=None,
    help="Compute only what changed since the last completed run.",
)
@click.option("--keep-runs", type=click.IntRange(1), help="Remove runs older than so many.")
@click.option("--keep-days", type=click.IntRange(1), help="Remove runs older than so many days.")
@click.option("--idempotency-key", metavar="KEY", help="The same key makes no second schedule.")
@connected
def create(
    session: Session,
    /,
    *,
    job: str | None,
    then: str | None,
    whole: str | None,
    webhook_url: str | None,
    webhook_secret: str | None,
    idempotency_key: str | None,
    **fields: Any,
) -> None:
    """Make a schedule."""
    body = {} if whole is None else _object("--from", whole)
    kept = given({"runs": fields.pop("keep_runs"), "days": fields.pop("keep_days")})
    body |= given({**fields, "keep": kept or None})
    if job is not None:
        body["job"] = _object("--job", job)
    if then is not None:
        body["then"] = _read("--then", then)
    if webhook_url is not None:
        if webhook_secret is None:
            raise click.UsageError("--webhook-url needs --webhook-secret")
        body["webhook"] = {"url": webhook_url, "secret": webhook_secret}
    if "job" not in body:
        raise click.UsageError("give --job or --from")
    if (body.get("cron") is None) == (body.get("every") is None):
        raise click.UsageError("give either --cron or --every")
    with session.client() as tm:
        made = tm.schedules.create(idempotency_key=idempotency_key, **body)
    session.show(made.raw, _table([made]))
    session.note(next_step("runs", f"textmill schedules runs {made.id}"))


@schedules.command("list")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=20, show_default=True)
@click.option("--after", metavar="SCHEDULE", help="Go on after this one of an earlier list.")
@connected
def list_schedules(session: Session, /, *, limit: int, after: str | None) -> None:
    """List schedules."""
    with session.client() as tm:
        page = tm.schedules.page(after=after, limit=limit)
    session.show(page.raw, _table(page.data))
    if page.has_more:
        session.note(next_step("more", f"textmill schedules list --after {page.next_after}"))


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@connected
def show(session: Session, /, *, schedule_id: str) -> None:
    """Show a schedule and the job that it submits."""
    with session.client() as tm:
        found = tm.schedules.get(schedule_id)
    jobs = [found.job, *found.then]
    told = [Text(json.dumps(one, ensure_ascii=False, indent=2)) for one in jobs]
    session.show(found.raw, _table([found]), Text(plain(f"{found.paused or ''}")), *told)


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@click.option("--full", is_flag=True, help="Of a run that computes every row.")
@click.option(
    "--times",
    is_flag=True,
    help="Only when it fires next; what it would process takes time to count.",
)
@connected
def preview(session: Session, /, *, schedule_id: str, full: bool, times: bool) -> None:
    """Show when a schedule fires next, in UTC, and what it would process and cost now."""
    with session.client() as tm:
        found = tm.schedules.get(schedule_id)
        lines = [Text(_time(one)) for one in found.next_fire_times] or [Text("It does not fire.")]
        shown: dict[str, Any] = {"next_fire_times": found.raw["next_fire_times"]}
        if not times:
            job = _waited(session, tm.schedules.preview(schedule_id, full=full))
            shown |= {"estimate": job.raw["estimate"], "corpus": job.raw["corpus"]}
            told = [one.told() for one in (job.estimate, job.corpus) if one is not None]
            lines += [Text(), *map(Text, told)]
            job.delete()
    session.show(shown, *lines)


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@connected
def pause(session: Session, /, *, schedule_id: str) -> None:
    """Let a schedule fire no more until it is resumed."""
    with session.client() as tm:
        found = tm.schedules.pause(schedule_id)
    session.show(found.raw, _table([found]))


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@connected
def resume(session: Session, /, *, schedule_id: str) -> None:
    """Let a paused schedule fire again."""
    with session.client() as tm:
        found = tm.schedules.resume(schedule_id)
    session.show(found.raw, _table([found]))


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@click.option("--full", is_flag=True, help="Compute every row, also of an incremental schedule.")
@click.option("--wait", is_flag=True, help="Until it has ended with all its jobs.")
@click.option("--idempotency-key", metavar="KEY", help="The same key makes no second run.")
@connected
def trigger(
    session: Session, /, *, schedule_id: str, full: bool, wait: bool, idempotency_key: str | None
) -> None:
    """Make a run now, also of a paused schedule."""
    with session.client() as tm:
        run = tm.schedules.trigger(schedule_id, full=full, idempotency_key=idempotency_key)
        if wait:
            run = _ended(session, tm, run)
    session.show(run.raw, _runs([run]))
    if wait and run.status != "completed":
        raise click.exceptions.Exit(1)
    if not wait and run.job is not None:
        session.note(next_step("watch", f"textmill watch {run.job}"))


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@connected
def delete(session: Session, /, *, schedule_id: str) -> None:
    """Delete a schedule with its history. Its jobs stay."""
    with session.client() as tm:
        tm.schedules.delete(schedule_id)
    session.show(None, Text(f"Deleted {plain(schedule_id)}."))


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=20, show_default=True)
@click.option("--after", metavar="RUN", help="Go on after this one of an earlier list.")
@connected
def runs(session: Session, /, *, schedule_id: str, limit: int, after: str | None) -> None:
    """List what became of each firing, newest first."""
    with session.client() as tm:
        page = tm.schedules.page_of_runs(schedule_id, after=after, limit=limit)
    session.show(page.raw, _runs(page.data))
    if page.has_more:
        command = f"textmill schedules runs {schedule_id} --after {page.next_after}"
        session.note(next_step("more", command))


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=20, show_default=True)
@click.option("--after", metavar="DELIVERY", help="Go on after this one of an earlier list.")
@connected
def deliveries(session: Session, /, *, schedule_id: str, limit: int, after: str | None) -> None:
    """List what a schedule's webhook was told."""
    with session.client() as tm:
        page = tm.schedules.page_of_deliveries(schedule_id, after=after, limit=limit)
    session.show(page.raw, _deliveries(page.data))
    if page.has_more:
        command = f"textmill schedules deliveries {schedule_id} --after {page.next_after}"
        session.note(next_step("more", command))


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@click.argument("delivery_id", metavar="DELIVERY")
@connected
def resend(session: Session, /, *, schedule_id: str, delivery_id: str) -> None:
    """Tell a schedule's webhook again."""
    with session.client() as tm:
        found = tm.schedules.resend(schedule_id, delivery_id)
    session.show(found.raw, _deliveries([found]))


def _read(option: str, path: str) -> Any:
    text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{option} {path}: not JSON: {error}") from None


def _object(option: str, path: str) -> dict[str, Any]:
    found = _read(option, path)
    if not isinstance(found, dict):
        raise click.UsageError(f"{option} {path}: expected a JSON object")
    return found


def _deliveries(found: Sequence[Delivery]) -> Table:
    table = bare_table("delivery", "event", "status", "attempts", "last")
    for one in found:
        last = one.attempts[-1] if one.attempts else None
        answer = "-" if last is None else str(last.status or last.error)
        table.add_row(plain(one.id), plain(one.type), one.status, str(len(one.attempts)), answer)
    return table


def _waited(session: Session, job: Job) -> Job:
    """A job once it has ended, with a bar for people meanwhile."""
    if session.json:
        return job.wait()
    with JobProgress() as shown:
        return job.wait(progress=shown.update)


def _ended(session: Session, tm: Textmill, run: Run) -> Run:
    """A run once it has ended, with a bar for each of its jobs in turn."""
    seen: set[str] = set()
    while run.status == OPEN:
        going = [one.job for one in run.jobs if one.status not in ("waiting", "skipped")]
        for job in [one for one in going if one not in seen]:
            seen.add(job)
            # How the run has ended is told when all of it has.
            with suppress(JobFailed):
                _waited(session, tm.jobs.get(job))
        with suppress(WaitTimeout):
            run = tm.schedules.wait(run, timeout=_LOOK_SECONDS)
        run = next((one for one in tm.schedules.runs(run.schedule) if one.id == run.id), run)
    return run


def _table(found: Sequence[Schedule]) -> Table:
    table = bare_table("schedule", "name", "when", "next", "state")
    for one in found:
        when = f"{one.cron} {one.timezone}" if one.cron else f"every {one.every} s"
        state = "paused" if one.paused else "late" if one.late_since else "good"
        first = _time(one.next_fire_times[0]) if one.next_fire_times else "-"
        table.add_row(one.id, plain(one.name), plain(when), first, state)
    return table


def _runs(found: Sequence[Run]) -> Table:
    table = bare_table("run", "for", "status", "job", "note")
    for one in found:
        how = "triggered" if one.manual else "made up for" if one.late else ""
        told = one.corpus.told() if one.corpus is not None else ""
        steps = [f"{job.step} {job.status}" for job in one.jobs if job.step is not None]
        note = one.reason or "; ".join(
            filter(None, [how, "full" if one.full else "", told, *steps])
        )
        when = _time(one.fire_at) if one.fire_at else "-"
        job = "removed" if one.removed_at else one.job or "-"
        table.add_row(one.id, when, plain(one.status), job, plain(note))
    return table


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
