"""The command and its subcommands."""

from __future__ import annotations

import sys

import click

from textmill.cli import (
    account,
    doctor,
    evaluations,
    events,
    files,
    jobs,
    models,
    outputs,
    schedules,
    submit,
    system,
)
from textmill.version import __version__

_EPILOG = """\b
Configured by TEXTMILL_URL and TEXTMILL_API_KEY, else ./.textmill/client.toml
Exit status: 0 done, 1 the job or call failed, 2 wrong usage

\b
Examples:
  textmill submit classify -m registry:tickets -i reviews.jsonl --wait
  textmill results JOB -o results.jsonl
  textmill doctor
"""


class InOrder(click.Group):
    """Lists its commands in the order in which they are used, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="textmill")
def cli() -> None:
    """Submit bulk NLP jobs to a Textmill server, follow them and fetch what they made."""


for command in (
    submit.submit,
    jobs.status,
    jobs.watch,
    jobs.list_jobs,
    jobs.cancel,
    jobs.retry,
    jobs.delete,
    outputs.results,
    outputs.errors,
    events.events,
    evaluations.evaluation,
    files.files,
    models.models,
    schedules.schedules,
    system.kinds,
    system.workers,
    account.usage,
    account.keys,
    doctor.doctor,
):
    cli.add_command(command)


def main() -> None:
    """Run the command and exit."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character should get a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli(prog_name="textmill")
