"""The ``textmill-server`` command."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
import orjson
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from jobs.devices import Device
from jobs.errors import TextmillError
from jobs.settings import Settings
from jobs.states import Lane
from server.devices import find_devices
from server.embedded import EmbeddedConfig
from server.health import ROLES, unhealthy
from server.logs import configure_logs
from server.screen import StackScreen
from server.up import TENANT, Stack, StackOptions, inherited_environment
from storage.keys import KeyRing

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder of an embedded stack; by default ./.textmill.",
)

#: Help for ``--devices``.
DEVICES_HELP = (
    "auto, cpu, or a list: cuda:0, cuda:1:0 (a MIG slice), a UUID; *2 behind one: two workers share it; "
    "cuda:0+cuda:1: one worker that trains on both."
)


def _reports_errors(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Turn the errors that users may meet into one clear line and exit status 1."""

    @functools.wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except TextmillError as error:
            click.secho(f"textmill-server: {error.detail}", err=True, fg="red")
            sys.exit(1)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False):
                name = "TEXTMILL_" + "_".join(str(part) for part in problem["loc"]).upper()
                click.secho(f"textmill-server: {name}: {problem['msg']}", err=True, fg="red")
            sys.exit(1)

    return wrapped


def _settings(data_dir: Path | None) -> Settings:
    """The settings of the environment; beside an embedded stack, those of the stack."""
    folder = data_dir or Path(os.environ.get("TEXTMILL_DATA_DIR", ".textmill"))
    embedded = EmbeddedConfig.load(folder / "embedded.json")
    if embedded is None or "TEXTMILL_REDIS_URL" in os.environ:
        return Settings()
    own = {"TEXTMILL_DATA_DIR": str(folder)}
    return Settings.from_environment({**inherited_environment(), **own, **embedded.environment()})


def _devices(wanted: str) -> list[Device]:
    """The devices wanted, of those that this process was given."""
    return find_devices(wanted, os.environ.get("CUDA_VISIBLE_DEVICES"))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="textmill-server")
def main() -> None:
    """Self-hosted batch NLP: start a whole stack, or one of its roles."""


@main.command()
@DATA_DIR
@click.option("--port", type=click.IntRange(0, 65535), default=None, help="Port of the API.")
@click.option("--workers", type=click.IntRange(1, 64), default=None, help="Model workers.")
@click.option("--devices", default="auto", show_default=True, help=DEVICES_HELP)
@_reports_errors
def up(data_dir: Path | None, port: int | None, workers: int | None, devices: str) -> None:
    """Run everything on this machine, until Ctrl-C."""
    options = StackOptions(
        data_dir=data_dir or Path(".textmill"),
        port=port,
        workers=workers,
        devices=tuple(_devices(devices)),
        extra_env=inherited_environment(),
    )
    screen = StackScreen(Console(stderr=False))
    stack = Stack(options, screen.event)
    screen.begin(stack)
    stack.run(lambda client: screen.ready(stack, client))
    screen.end()


@main.command()
@_reports_errors
def api() -> None:
    """Serve the HTTP API."""
    from server.roles import api as role  # noqa: PLC0415  (each role loads only what it needs)

    settings = Settings()
    configure_logs(settings)
    role.run(settings)


@main.command()
@click.option("--control", is_flag=True, help="Plan and finalize instead of running models.")
@click.option(
    "--lane",
    type=click.Choice([lane.value for lane in Lane]),
    default=None,
    help="With --control: only small jobs, or only large ones; by default a process for each.",
)
@click.option("--devices", default=None, help=DEVICES_HELP)
@_reports_errors
def worker(control: bool, lane: str | None, devices: str | None) -> None:
    """Run models on the devices of this host, or with --control plan and finalize."""
    from server.roles import worker as role  # noqa: PLC0415

    settings = Settings()
    configure_logs(settings)
    if control:
        if lane is None:
            role.supervise_control_workers()
        else:
            role.run_control_worker(settings, Lane(lane))
    elif settings.device is not None and devices is None:
        role.run_model_worker(settings, Device.from_json(orjson.loads(settings.device)))
    else:
        found = _devices(devices or settings.devices)
        if len(found) == 1:
            role.run_model_worker(settings, found[0])
        else:
            role.supervise_model_workers(settings, found)


@main.command()
@_reports_errors
def scheduler() -> None:
    """Sweep after dead workers."""
    from server.roles import scheduler as role  # noqa: PLC0415

    settings = Settings()
    configure_logs(settings)
    role.run(settings)


@main.command()
@DATA_DIR
@click.option(
    "--documents", type=click.IntRange(1, 100_000), default=None, help="Rows to classify."
)
@click.option(
    "--summaries", type=click.IntRange(1, 10_000), default=None, help="Rows to summarize."
)
@_reports_errors
def demo(data_dir: Path | None, documents: int | None, summaries: int | None) -> None:
    """Start a stack, run real jobs on text found on this machine, show the results, stop."""
    from server.demo.run import DemoSize, run_demo  # noqa: PLC0415

    size = DemoSize(documents=documents or 400, summaries=summaries or 8)
    sys.exit(run_demo(data_dir or Path(".textmill/demo"), size))


@main.command()
@DATA_DIR
@_reports_errors
def sweep(data_dir: Path | None) -> None:
    """Sweep once, as the scheduler does each second."""
    from server.connect import Connections  # noqa: PLC0415
    from server.roles.scheduler import make_sweeper  # noqa: PLC0415

    settings = _settings(data_dir)
    configure_logs(settings)
    make_sweeper(Connections.open(settings)).sweep()


@main.command()
@DATA_DIR
@click.option("--force", is_flag=True, help="Also when the ledger is whole: it is emptied first.")
@_reports_errors
def rebuild(data_dir: Path | None, force: bool) -> None:
    """Build the ledger again from the object store, after Redis was lost."""
    from server.rebuilding import run_rebuild  # noqa: PLC0415

    settings = _settings(data_dir)
    configure_logs(settings)
    run_rebuild(settings, force=force)


@main.command("check-config")
@DATA_DIR
@_reports_errors
def check_config(data_dir: Path | None) -> None:
    """Print the settings as this machine's roles would read them, secrets masked."""
    click.echo(orjson.dumps(_settings(data_dir).masked(), option=orjson.OPT_INDENT_2))


@main.command()
@click.argument("role", type=click.Choice(ROLES))
@_reports_errors
def health(role: str) -> None:
    """Exit 0 when this role is healthy on this host, for container health checks."""
    reason = unhealthy(role, Settings())
    if reason is not None:
        click.echo(reason, err=True)
        sys.exit(1)


@main.group()
def keys() -> None:
    """API keys: create, list, revoke."""


def _keyring(data_dir: Path | None) -> KeyRing:
    from server.connect import Connections  # noqa: PLC0415

    connections = Connections.open(_settings(data_dir))
    return KeyRing(connections.store, connections.ledger)


@keys.command("create")
@DATA_DIR
@click.option("--name", required=True, help="What the key is for.")
@_reports_errors
def create_key(data_dir: Path | None, name: str) -> None:
    """Make a key and show it, once."""
    record, key = _keyring(data_dir).create(TENANT, name)
    click.echo(f"{record.id} for tenant {record.tenant}; keep it, it is shown only now:", err=True)
    click.echo(key)


@keys.command("list")
@DATA_DIR
@_reports_errors
def list_keys(data_dir: Path | None) -> None:
    """Show the keys' records, without the keys."""
    table = Table("id", "name", "created", "revoked")
    for record in _keyring(data_dir).list(TENANT):
        table.add_row(record.id, record.name, record.created_at, record.revoked_at or "")
    Console().print(table)


@keys.command("revoke")
@DATA_DIR
@click.argument("key_id")
@_reports_errors
def revoke_key(data_dir: Path | None, key_id: str) -> None:
    """Make a key worthless at once."""
    record = _keyring(data_dir).revoke(TENANT, key_id)
    click.echo(f"revoked {record.id} ({record.name})")
