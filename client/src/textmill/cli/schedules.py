"""``schedules``: jobs that are submitted by the clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from textmill.call import given
from textmill.cli.common import Session, connected, next_step
from textmill.paging import MAX_PAGE
from textmill.schedules import Run, Schedule
from textmill.table import bare_table
from textmill.wording import plain


@click.group()
def schedules() -> None:
    """Submit jobs by the clock."""


@schedules.command()
@click.option(
    "--job",
    "job",
    required=True,
    metavar="PATH|-",
    help="A JSON file with the job that each firing submits, as the body of POST /v1/jobs; - for stdin.",
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
@click.option("--keep-runs", type=click.IntRange(1), help="Remove runs older than so many.")
@click.option("--keep-days", type=click.IntRange(1), help="Remove runs older than so many days.")
@click.option("--idempotency-key", metavar="KEY", help="The same key makes no second schedule.")
@connected
def create(session: Session, /, *, job: str, idempotency_key: str | None, **fields: Any) -> None:
    """Make a schedule."""
    kept = given({"runs": fields.pop("keep_runs"), "days": fields.pop("keep_days")})
    fields["keep"] = kept or None
    if (fields["cron"] is None) == (fields["every"] is None):
        raise click.UsageError("give either --cron or --every")
    with session.client() as tm:
        made = tm.schedules.create(job=_job(job), idempotency_key=idempotency_key, **given(fields))
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
    told = json.dumps(found.job, ensure_ascii=False, indent=2)
    session.show(found.raw, _table([found]), Text(plain(f"{found.paused or ''}")), Text(told))


@schedules.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@connected
def preview(session: Session, /, *, schedule_id: str) -> None:
    """Show when a schedule fires next, in UTC."""
    with session.client() as tm:
        found = tm.schedules.get(schedule_id)
    times = [Text(_time(one)) for one in found.next_fire_times]
    session.show(found.raw["next_fire_times"], *(times or [Text("It does not fire.")]))


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
@connected
def trigger(session: Session, /, *, schedule_id: str) -> None:
    """Make a run now, also of a paused schedule."""
    with session.client() as tm:
        run = tm.schedules.trigger(schedule_id)
    session.show(run.raw, _runs([run]))
    if run.job is not None:
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


def _job(path: str) -> dict[str, Any]:
    text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--job {path}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"--job {path}: expected a JSON object")
    return found


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
        note = one.reason or ("triggered" if one.manual else "made up for" if one.late else "")
        when = _time(one.fire_at) if one.fire_at else "-"
        job = "removed" if one.removed_at else one.job or "-"
        table.add_row(one.id, when, plain(one.status), job, plain(note))
    return table


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
