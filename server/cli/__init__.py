"""The ``textmill-server`` command, a module for each group of its commands."""

from __future__ import annotations

import click

from server.cli.books import audit, usage
from server.cli.care import check_config, health, rebuild, sweep
from server.cli.corpora import corpora
from server.cli.keys import keys
from server.cli.roles import api, demo, scheduler, up, worker
from server.cli.tenants import tenants


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="textmill-server")
def main() -> None:
    """Self-hosted batch NLP: start a whole stack, or one of its roles."""


for _command in (
    up,
    api,
    worker,
    scheduler,
    demo,
    sweep,
    rebuild,
    check_config,
    health,
    keys,
    tenants,
    usage,
    audit,
    corpora,
):
    main.add_command(_command)
