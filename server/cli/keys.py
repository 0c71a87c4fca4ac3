"""``textmill-server keys``: API keys of any tenant."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from jobs.record import rfc3339
from jobs.scopes import ALL_SCOPES, Scope
from server.cli.common import (
    DATA_DIR,
    JSON,
    TENANT,
    Duration,
    connected,
    note,
    print_json,
    reports_errors,
)
from storage.keys import KeyRing
from storage.tenants import TenantTable


@click.group()
def keys() -> None:
    """API keys: create, list, revoke."""


@keys.command("create")
@DATA_DIR
@TENANT
@click.option("--name", required=True, help="What the key is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may be used for; may be given more than once. By default everything.",
)
@click.option(
    "--expires-in", type=Duration(), default=None, help="After which it is worthless, such as 90d."
)
@reports_errors
def create_key(
    data_dir: Path | None,
    tenant: str,
    name: str,
    scopes: tuple[str, ...],
    expires_in: int | None,
) -> None:
    """Make a key and show it, once."""
    store, ledger = connected(data_dir)
    TenantTable(store, ledger).get(tenant)  # not for a tenant that is only misspelt
    record, key = KeyRing(store, ledger).create(
        tenant,
        name,
        scopes=frozenset(map(Scope, scopes)) or ALL_SCOPES,
        expires_at=None if expires_in is None else ledger.now() + expires_in,
    )
    note(store, ledger, tenant, "key.create", record.id)
    click.echo(f"{record.id} for tenant {record.tenant}; keep it, it is shown only now:", err=True)
    click.echo(key)


@keys.command("list")
@DATA_DIR
@TENANT
@JSON
@reports_errors
def list_keys(data_dir: Path | None, tenant: str, as_json: bool) -> None:
    """Show the keys' records, without the keys."""
    ring = KeyRing(*connected(data_dir))
    found = ring.list(tenant)
    used = ring.last_used(found)
    if as_json:
        print_json([record.public(used.get(record.id)) for record in found])
        return
    table = Table("id", "name", "scopes", "created", "expires", "last used", "revoked")
    for record in found:
        table.add_row(
            record.id,
            record.name,
            "all" if record.scopes == ALL_SCOPES else " ".join(sorted(record.scopes)),
            record.created_at,
            rfc3339(record.expires_at) or "",
            rfc3339(used.get(record.id)) or "",
            record.revoked_at or "",
        )
    Console().print(table)


@keys.command("revoke")
@DATA_DIR
@TENANT
@click.argument("key_id")
@reports_errors
def revoke_key(data_dir: Path | None, tenant: str, key_id: str) -> None:
    """Make a key worthless at once."""
    store, ledger = connected(data_dir)
    record = KeyRing(store, ledger).revoke(tenant, key_id)
    note(store, ledger, tenant, "key.revoke", record.id)
    click.echo(f"revoked {record.id} ({record.name})")
