"""``textmill-server usage`` and ``audit``: what a tenant used, and who changed what."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from jobs.record import rfc3339
from server.cli.common import DATA_DIR, JSON, TENANT, connected, print_json, reports_errors
from storage.audit import AuditLog
from storage.usage import Usage, UsageBook

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@DATA_DIR
@TENANT
@click.option("--from", "first", type=_DAY, default=None, help="First day; by default 30 days ago.")
@click.option("--to", "last", type=_DAY, default=None, help="Last day; by default today.")
@JSON
@reports_errors
def usage(
    data_dir: Path | None,
    tenant: str,
    first: datetime | None,
    last: datetime | None,
    as_json: bool,
) -> None:
    """Show what a tenant used, by day of UTC."""
    store, ledger = connected(data_dir)
    end: date = last.date() if last else ledger.accounts.today()
    start: date = first.date() if first else end - timedelta(days=30)
    days = UsageBook(store, ledger).read(tenant, start, end)
    if as_json:
        print_json([{"day": day.isoformat(), **found.public()} for day, found in days])
        return
    total = sum((found for _, found in days), Usage())
    table = Table("day", *total.public())
    for label, found in [*((day.isoformat(), found) for day, found in days), ("all", total)]:
        table.add_row(label, *(f"{value:,}" for value in found.public().values()))
    Console().print(table)


@click.command()
@DATA_DIR
@TENANT
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@JSON
@reports_errors
def audit(data_dir: Path | None, tenant: str, limit: int, as_json: bool) -> None:
    """Show who changed what, newest first."""
    entries, _ = AuditLog(*connected(data_dir)).page(tenant, after=None, limit=limit)
    if as_json:
        print_json([entry.public() for entry in entries])
        return
    table = Table("at", "action", "subject", "key", "address", "request")
    for entry in entries:
        table.add_row(
            rfc3339(entry.at),
            entry.action,
            entry.subject,
            entry.key_id or "operator",
            entry.address or "",
            entry.request_id or "",
        )
    Console().print(table)
