"""``kinds`` and ``workers``."""

from __future__ import annotations

import click
from rich.text import Text

from textmill.cli.common import Session, connected
from textmill.cli.submit import require_kind
from textmill.cli.tables import kinds_table, now, params_table, workers_table


@click.command()
@click.argument("kind", required=False)
@connected
def kinds(session: Session, /, *, kind: str | None) -> None:
    """List the kinds of tasks, or the parameters of one KIND."""
    with session.client() as tm:
        page = tm.kinds.page()
    known = page.data
    if kind is None:
        session.show(page.raw, kinds_table(known) if known else Text("No kinds.", style="dim"))
        return
    chosen = require_kind(kind, known)
    session.show(chosen.raw, params_table(chosen))


@click.command()
@connected
def workers(session: Session, /) -> None:
    """List the workers that are alive."""
    with session.client() as tm:
        page = tm.workers.page()
    alive = page.data
    shown = workers_table(alive, now()) if alive else Text("No workers.", style="dim")
    session.show(page.raw, shown)
