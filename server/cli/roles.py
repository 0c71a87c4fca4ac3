"""``textmill-server up``, ``api``, ``worker``, ``scheduler`` and ``demo``: what runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import orjson
from rich.console import Console

from jobs.devices import Device
from jobs.settings import Settings
from jobs.states import Lane
from server.cli.common import DATA_DIR, reports_errors
from server.devices import find_devices
from server.logs import configure_logs
from server.screen import StackScreen
from server.up import Stack, StackOptions, inherited_environment

#: Help for ``--devices``.
DEVICES_HELP = (
    "auto, cpu, or a list: cuda:0, cuda:1:0 (a MIG slice), a UUID; *2 behind one: two workers share it; "
    "cuda:0+cuda:1: one worker that trains on both."
)


def _devices(wanted: str) -> list[Device]:
    """The devices wanted, of those that this process was given."""
    return find_devices(wanted, os.environ.get("CUDA_VISIBLE_DEVICES"))


@click.command()
@DATA_DIR
@click.option("--port", type=click.IntRange(0, 65535), default=None, help="Port of the API.")
@click.option("--workers", type=click.IntRange(1, 64), default=None, help="Model workers.")
@click.option("--devices", default="auto", show_default=True, help=DEVICES_HELP)
@reports_errors
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


@click.command()
@reports_errors
def api() -> None:
    """Serve the HTTP API."""
    from server.roles import api as role  # noqa: PLC0415  (each role loads only what it needs)

    settings = Settings()
    configure_logs(settings)
    role.run(settings)


@click.command()
@click.option("--control", is_flag=True, help="Plan and finalize instead of running models.")
@click.option(
    "--lane",
    type=click.Choice([lane.value for lane in Lane]),
    default=None,
    help="With --control: only small jobs, or only large ones; by default a process for each.",
)
@click.option("--devices", default=None, help=DEVICES_HELP)
@reports_errors
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


@click.command()
@reports_errors
def scheduler() -> None:
    """Sweep after dead workers."""
    from server.roles import scheduler as role  # noqa: PLC0415

    settings = Settings()
    configure_logs(settings)
    role.run(settings)


@click.command()
@DATA_DIR
@click.option(
    "--documents", type=click.IntRange(1, 100_000), default=None, help="Rows to classify."
)
@click.option(
    "--summaries", type=click.IntRange(1, 10_000), default=None, help="Rows to summarize."
)
@reports_errors
def demo(data_dir: Path | None, documents: int | None, summaries: int | None) -> None:
    """Start a stack, run real jobs on text found on this machine, show the results, stop."""
    from server.demo.run import DemoSize, run_demo  # noqa: PLC0415

    size = DemoSize(documents=documents or 400, summaries=summaries or 8)
    sys.exit(run_demo(data_dir or Path(".textmill/demo"), size))
