"""``models list``, ``show``, ``alias`` and ``import``."""

from __future__ import annotations

import click
from rich.text import Text

from textmill.cli.common import Session, connected, next_step
from textmill.cli.tables import model_table, models_table, now
from textmill.cli.waiting import wait_and_report
from textmill.panel import job_panel
from textmill.wording import plain


@click.group()
def models() -> None:
    """The registry of models."""


@models.command("list")
@click.option("--after", metavar="NAME", help="Go on after this model of an earlier list.")
@connected
def list_models(session: Session, /, *, after: str | None) -> None:
    """List models."""
    with session.client() as tm:
        page = tm.models.page(after=after)
    shown = models_table(page.data) if page.data else Text("No models.", style="dim")
    session.show(page.raw, shown)
    if page.has_more and page.next_after:
        session.note(next_step("more", f"textmill models list --after {page.next_after}"))


@models.command()
@click.argument("name")
@connected
def show(session: Session, /, *, name: str) -> None:
    """Show a model's versions and aliases."""
    with session.client() as tm:
        model = tm.models.get(name)
    session.show(model.raw, model_table(model, now()))


@models.command()
@click.argument("target", metavar="NAME@VERSION")
@click.argument("alias_", metavar="ALIAS")
@connected
def alias(session: Session, /, *, target: str, alias_: str) -> None:
    """Let NAME@ALIAS mean this version from now on."""
    name, at, version = target.removeprefix("registry:").partition("@")
    if not name or not at or not version:
        raise click.UsageError(f"expected NAME@VERSION, found {target!r}")
    with session.client() as tm:
        answer = tm.models.alias(name, alias_, version)
    session.show(answer, Text(f"registry:{name}@{alias_} now means version {version}."))


@models.command("import")
@click.argument("ref")
@click.option("--name", required=True, metavar="NAME", help="What the registry calls it.")
@click.option("--wait", is_flag=True, help="Wait until it is there.")
@connected
def import_model(session: Session, /, *, ref: str, name: str, wait: bool) -> None:
    """Bring the model REF (hf:…, s3://…, pkg:…) into the registry."""
    with session.client() as tm:
        job = tm.models.import_model(ref, name=name)
        if not wait:
            session.show(job.raw, job_panel(job))
            session.note(next_step("watch", f"textmill watch {job.id}"))
            return
        job = wait_and_report(session, tm, job)
        if not session.json:
            for row in job.results():
                made = row.get("output", {})
                ref = f"registry:{made.get('model', name)}@{made.get('version', 'latest')}"
                session.note(Text.assemble(("imported  ", "dim"), (plain(ref), "bold")))
