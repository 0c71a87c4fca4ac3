"""``models list``, ``show``, ``alias``, ``rollback``, ``delete`` and ``import``."""

from __future__ import annotations

import click
from rich.text import Text

from textmill.cli.common import Session, connected, next_step
from textmill.cli.model_tables import find_version, model_table, version_tables
from textmill.cli.tables import models_table, now
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
@click.argument("target", metavar="NAME[@VERSION]")
@connected
def show(session: Session, /, *, target: str) -> None:
    """Show a model's versions and aliases, and how good a version is and where it came from.

    By default it tells of the newest version.
    """
    name, version = _target(target)
    with session.client() as tm:
        model = tm.models.get(name)
    chosen = find_version(model, version)
    if chosen is None and version is not None:
        raise click.UsageError(f"{name} has no version or alias {version!r}")
    session.show(model.raw, model_table(model, now()), *version_tables(chosen))


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


@models.command()
@click.argument("name")
@click.argument("alias_", metavar="[ALIAS]", default="prod")
@connected
def rollback(session: Session, /, *, name: str, alias_: str) -> None:
    """Let NAME@ALIAS mean the version again that it meant before.

    Without ALIAS it is prod. Done twice, it goes two versions back. Jobs that run keep the version that they have.
    """
    with session.client() as tm:
        found = tm.models.roll_back(name, alias_)
    left = found.history[1].version if len(found.history) > 1 else None
    said = f"registry:{name}@{alias_} means version {found.version} again"
    session.show(found.raw, Text(plain(said + (f", no longer {left}." if left else "."))))


@models.command()
@click.argument("target", metavar="NAME[@VERSION]")
@click.option("--alias", "alias_", metavar="ALIAS", help="Delete this alias of NAME alone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connected
def delete(session: Session, /, *, target: str, alias_: str | None, yes: bool) -> None:
    """Delete a version of a model, or the model with all its versions.

    Refused while an alias points there, an unfinished job uses it, or an adapter has it as its base; of a whole model,
    latest goes with it.
    """
    name, version = _target(target)
    if alias_ is not None and version is not None:
        raise click.UsageError("expected NAME without a version beside --alias")
    what = f"{name}@{version}" if version else f"{name} with all its versions"
    if alias_ is not None:
        what = f"the alias {name}@{alias_}"
    if not yes:
        click.confirm(f"Delete {what}?", abort=True, err=True)
    with session.client() as tm:
        answer = tm.models.delete(name, version=version, alias=alias_)
    session.show(answer, Text(f"Deleted {plain(what)}."))


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


def _target(text: str) -> tuple[str, str | None]:
    """The name, and the version where one is given."""
    name, at, version = text.removeprefix("registry:").partition("@")
    if not name or (at and not version):
        raise click.UsageError(f"expected NAME or NAME@VERSION, found {text!r}")
    return name, version or None
