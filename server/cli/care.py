"""``textmill-server sweep``, ``rebuild``, ``check-config`` and ``health``: looking after an installation."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from jobs.settings import Settings
from server.cli.common import DATA_DIR, reports_errors, settings_of
from server.health import ROLES, unhealthy
from server.logs import configure_logs


@click.command()
@DATA_DIR
@reports_errors
def sweep(data_dir: Path | None) -> None:
    """Sweep once, as the scheduler does each second."""
    from server.connect import Connections  # noqa: PLC0415
    from server.roles.scheduler import make_sweeper  # noqa: PLC0415

    settings = settings_of(data_dir)
    configure_logs(settings)
    make_sweeper(Connections.open(settings)).sweep()


@click.command()
@DATA_DIR
@click.option("--force", is_flag=True, help="Also when the ledger is whole: it is emptied first.")
@reports_errors
def rebuild(data_dir: Path | None, force: bool) -> None:
    """Build the ledger again from the object store, after Redis was lost."""
    from server.rebuilding import run_rebuild  # noqa: PLC0415

    settings = settings_of(data_dir)
    configure_logs(settings)
    run_rebuild(settings, force=force)


@click.command("check-config")
@DATA_DIR
@reports_errors
def check_config(data_dir: Path | None) -> None:
    """Print the settings as this machine's roles would read them, secrets masked."""
    click.echo(orjson.dumps(settings_of(data_dir).masked(), option=orjson.OPT_INDENT_2))


@click.command()
@click.argument("role", type=click.Choice(ROLES))
@reports_errors
def health(role: str) -> None:
    """Exit 0 when this role is healthy on this host, for container health checks."""
    reason = unhealthy(role, Settings())
    if reason is not None:
        click.echo(reason, err=True)
        sys.exit(1)
