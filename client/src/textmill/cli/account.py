"""``usage`` and ``keys``: what the tenant has used, and who may use it."""

from __future__ import annotations

from datetime import datetime

import click
from rich.console import Console, RenderableType
from rich.text import Text

from textmill.cli.account_tables import days_table, keys_table, quotas_table
from textmill.cli.common import Session, connected, next_step
from textmill.cli.tables import now
from textmill.paging import MAX_PAGE
from textmill.wording import plain

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--from", "first", metavar="YYYY-MM-DD", type=_DAY, help="First day, in UTC.")
@click.option("--to", "last", metavar="YYYY-MM-DD", type=_DAY, help="Last day; by default today.")
@connected
def usage(session: Session, /, *, first: datetime | None, last: datetime | None) -> None:
    """Show what was used by day, and what is left of the quotas. By default of the last 30 days."""
    with session.client() as tm:
        found = tm.usage(first=_day(first), last=_day(last))
    shown: list[RenderableType] = [Text("Nothing was used.", style="dim")]
    if found.days:
        shown = [days_table(found)]
    if found.quotas:
        shown += [Text(), quotas_table(found)]
    session.show(found.raw, *shown)


@click.group()
def keys() -> None:
    """The API keys of this tenant. Needs a key with the scope keys:write."""


@keys.command("list")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=20, show_default=True)
@click.option("--after", metavar="KEY", help="Go on after this key of an earlier list.")
@connected
def list_keys(session: Session, /, *, limit: int, after: str | None) -> None:
    """List keys, oldest first; those that were revoked too."""
    with session.client() as tm:
        page = tm.keys.page(after=after, limit=limit)
    shown = keys_table(page.data, now()) if page.data else Text("No keys.", style="dim")
    session.show(page.raw, shown)
    if page.has_more and page.next_after:
        session.note(next_step("more", f"textmill keys list --after {page.next_after}"))


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="What it may do, such as jobs:read; by default all that the key in use may.",
)
@click.option(
    "--expires-in-days",
    type=click.IntRange(min=1),
    metavar="N",
    help="By default it lives as long as the key in use.",
)
@connected
def create(
    session: Session, /, *, name: str, scopes: tuple[str, ...], expires_in_days: int | None
) -> None:
    """Make a key called NAME. It is shown this once: on stdout, alone."""
    with session.client() as tm:
        made = tm.keys.create(name=name, scopes=scopes or None, expires_in_days=expires_in_days)
    session.note(
        Text(f"Made {plain(made.id)} ({plain(made.name)}). Keep it now: it is shown this once.")
    )
    if session.json:
        session.show({**made.raw, "key": made.key})
    else:
        Console(soft_wrap=True).print(Text(plain(made.key)))


@keys.command()
@click.argument("key_id", metavar="KEY")
@connected
def revoke(session: Session, /, *, key_id: str) -> None:
    """Make a key worthless at once. KEY is its id, as in the list."""
    with session.client() as tm:
        revoked = tm.keys.revoke(key_id)
    session.show(revoked.raw, Text(f"Revoked {plain(revoked.id)} ({plain(revoked.name)})."))


def _day(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d}"
