"""What the commands of ``textmill-server`` have in common: settings, connections, errors as one line."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import orjson
from pydantic import ValidationError

from jobs.errors import TextmillError
from jobs.settings import Settings
from jobs.tenants import DEFAULT_TENANT
from server.embedded import EmbeddedConfig
from server.up import inherited_environment
from storage.audit import AuditEntry, AuditLog
from storage.ledger import Ledger
from storage.objects import ObjectStore

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder of an embedded stack; by default ./.textmill.",
)

TENANT = click.option(
    "--tenant", default=DEFAULT_TENANT, show_default=True, help="Whose; `tenants list` shows all."
)

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API gives it.")


def reports_errors(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
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


def settings_of(data_dir: Path | None) -> Settings:
    """The settings of the environment; beside an embedded stack, those of the stack."""
    folder = data_dir or Path(os.environ.get("TEXTMILL_DATA_DIR", ".textmill"))
    embedded = EmbeddedConfig.load(folder / "embedded.json")
    if embedded is None or "TEXTMILL_REDIS_URL" in os.environ:
        return Settings()
    own = {"TEXTMILL_DATA_DIR": str(folder)}
    return Settings.from_environment({**inherited_environment(), **own, **embedded.environment()})


def connected(data_dir: Path | None) -> tuple[ObjectStore, Ledger]:
    """The store and the ledger that the settings name."""
    settings = settings_of(data_dir)
    return ObjectStore.connect(settings), Ledger.connect(settings)


def note(store: ObjectStore, ledger: Ledger, tenant: str, action: str, subject: str) -> None:
    """Note in the audit log what an operator did."""
    AuditLog(store, ledger).add(
        AuditEntry(
            tenant=tenant,
            action=action,
            subject=subject,
            key_id=None,
            address=None,
            request_id=None,
        )
    )


def print_json(value: Any) -> None:
    """Print a value as JSON, and nothing else."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))


_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Duration(click.ParamType[int]):
    """A time such as ``90d``, in ms."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", str(value))
        if match is None:
            self.fail(f"expected minutes, hours or days such as 30m, 12h or 90d, found {value!r}")
        return int(match[1]) * _UNITS[match[2]]
