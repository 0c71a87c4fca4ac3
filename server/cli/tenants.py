"""``textmill-server tenants``: who may use the installation, and how much of it."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from jobs.s3uri import is_allowed_prefix
from jobs.tenants import LIMITS, Tenant
from server.cli.common import (
    DATA_DIR,
    JSON,
    connected,
    note,
    print_json,
    reports_errors,
    settings_of,
)
from storage.tenants import TenantTable

#: What stands for a limit of the settings on the command line, and for none at all.
_DEFAULT, _NONE = "default", "none"


class _Limit(click.ParamType["tuple[str, float | str | None]"]):
    """``rows_queued=100000``, ``=none`` or ``=default``."""

    name = "limit"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float | str | None]:
        if isinstance(value, tuple):
            return value
        name, _, text = str(value).partition("=")
        if name not in LIMITS:
            self.fail(f"unknown limit {name!r}; known: {', '.join(LIMITS)}")
        if text in (_DEFAULT, _NONE):
            return name, None if text == _NONE else _DEFAULT
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        least = 0 if not name.endswith("_rate") else 1e-6
        if not least <= number < math.inf:
            self.fail(f"{name}: expected a number, `none` or `default`, found {text!r}")
        return name, number


class _Prefix(click.ParamType[str]):
    name = "s3://bucket/prefix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_allowed_prefix(str(value)):
            self.fail(f"expected s3://bucket/ or s3://bucket/prefix, found {value!r}")
        return str(value)


_LIMITS = click.option(
    "--limit",
    "limits",
    multiple=True,
    type=_Limit(),
    metavar="NAME=NUMBER",
    help=f"May be given more than once; `=none` lifts a limit, `=default` is what the settings say. "
    f"Limits: {', '.join(LIMITS)}.",
)
_PREFIXES = click.option(
    "--s3-prefix",
    "prefixes",
    multiple=True,
    type=_Prefix(),
    help="s3://bucket/prefix that its jobs may read; may be given more than once, and replaces those of before.",
)


@click.group()
def tenants() -> None:
    """Tenants: create, list, show, set, disable, enable."""


@tenants.command("create")
@DATA_DIR
@click.argument("name")
@_LIMITS
@_PREFIXES
@reports_errors
def create(
    data_dir: Path | None,
    name: str,
    limits: tuple[tuple[str, Any], ...],
    prefixes: tuple[str, ...],
) -> None:
    """Make a tenant."""
    store, ledger = connected(data_dir)
    given, _ = _split(limits)
    record = TenantTable(store, ledger).create(
        name, limits=given, s3_allowed_prefixes=prefixes or None
    )
    note(store, ledger, name, "tenant.create", name)
    click.echo(f"made tenant {record.name}; next: textmill-server keys create --tenant {name}")


@tenants.command("set")
@DATA_DIR
@click.argument("name")
@_LIMITS
@_PREFIXES
@click.option("--no-s3-prefixes", is_flag=True, help="Its jobs may read no s3:// URI.")
@reports_errors
def change(
    data_dir: Path | None,
    name: str,
    limits: tuple[tuple[str, Any], ...],
    prefixes: tuple[str, ...],
    no_s3_prefixes: bool,
) -> None:
    """Change what a tenant may use. What is not named stays."""
    store, ledger = connected(data_dir)
    given, forget = _split(limits)
    TenantTable(store, ledger).change(
        name,
        limits=given,
        forget=forget,
        s3_allowed_prefixes=prefixes if prefixes or no_s3_prefixes else None,
    )
    note(store, ledger, name, "tenant.set", name)
    click.echo(f"changed tenant {name}")


def _split(
    limits: tuple[tuple[str, float | str | None], ...],
) -> tuple[dict[str, float | None], frozenset[str]]:
    """Limits that were given, and names of those that shall be the settings' own."""
    last = dict(limits)
    forget = frozenset(name for name, value in last.items() if value == _DEFAULT)
    given = {name: value for name, value in last.items() if not isinstance(value, str)}
    return given, forget


@tenants.command("list")
@DATA_DIR
@JSON
@reports_errors
def listing(data_dir: Path | None, as_json: bool) -> None:
    """Show all tenants that have a record; `default` and `shared` need none."""
    found = TenantTable(*connected(data_dir)).list()
    if as_json:
        print_json([asdict(tenant) for tenant in found])
        return
    table = Table("name", "created", "own limits", "s3 prefixes", "disabled")
    for tenant in found:
        table.add_row(
            tenant.name,
            tenant.created_at,
            _shown(dict(tenant.limits)),
            _prefixes(tenant),
            tenant.disabled_at or "",
        )
    Console().print(table)


@tenants.command("show")
@DATA_DIR
@click.argument("name")
@reports_errors
def show(data_dir: Path | None, name: str) -> None:
    """Show a tenant's record, the limits in force and how much of them is used, as JSON."""
    store, ledger = connected(data_dir)
    tenant = TenantTable(store, ledger).get(name)
    in_force = tenant.limits_in_force(settings_of(data_dir).limits)
    standing = ledger.accounts.standing(name)
    print_json(
        {**asdict(tenant), "limits_in_force": asdict(in_force), "standing": asdict(standing)}
    )


@tenants.command("disable")
@DATA_DIR
@click.argument("name")
@reports_errors
def disable(data_dir: Path | None, name: str) -> None:
    """Let none of the tenant's keys in any more, at once. Its jobs go on."""
    store, ledger = connected(data_dir)
    TenantTable(store, ledger).disable(name)
    note(store, ledger, name, "tenant.disable", name)
    click.echo(f"disabled tenant {name}")


@tenants.command("enable")
@DATA_DIR
@click.argument("name")
@reports_errors
def enable(data_dir: Path | None, name: str) -> None:
    """Let the tenant's keys in again."""
    store, ledger = connected(data_dir)
    TenantTable(store, ledger).enable(name)
    note(store, ledger, name, "tenant.enable", name)
    click.echo(f"enabled tenant {name}")


def _shown(limits: dict[str, float | None]) -> str:
    return " ".join(
        f"{name}={_NONE if value is None else format(value, 'g')}" for name, value in limits.items()
    )


def _prefixes(tenant: Tenant) -> str:
    if tenant.s3_allowed_prefixes is None:
        return _DEFAULT
    return " ".join(tenant.s3_allowed_prefixes) or _NONE
