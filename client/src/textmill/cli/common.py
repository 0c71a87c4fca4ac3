"""What all commands share: the connection's options, printing, and what becomes of errors."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Concatenate, NoReturn, ParamSpec, TypeVar

import click
from rich.console import Console, RenderableType
from rich.text import Text

from textmill.client import Textmill
from textmill.errors import ApiError, InputError, TextmillError
from textmill.retry import RetryPolicy
from textmill.wording import plain

P = ParamSpec("P")
R = TypeVar("R")

#: A person is waiting: fewer tries than a script gets.
POLICY = RetryPolicy(attempts=4)

#: What a shell reports for a program that was stopped by Ctrl-C, or whose reader went away.
EXIT_INTERRUPTED = 128 + 2
EXIT_BROKEN_PIPE = 128 + 13


@dataclass(frozen=True, kw_only=True)
class Session:
    """The options that every command has."""

    url: str | None
    api_key: str | None
    json: bool

    def client(self) -> Textmill:
        """A connection to the configured server."""
        return Textmill(self.url, self.api_key, retry=POLICY)

    def show(self, raw: Any, *renderables: RenderableType) -> None:
        """Print the API's object with ``--json``, else what people want to see."""
        if self.json:
            if raw is not None:
                text = json.dumps(raw, ensure_ascii=False, indent=2) + "\n"
                write_bytes(text.encode("utf-8", "backslashreplace"))
            return
        console = Console()
        for renderable in renderables:
            console.print(renderable)

    def note(self, *lines: Text) -> None:
        """Say something on stderr; not with ``--json``."""
        if not self.json:
            console = Console(stderr=True)
            for line in lines:
                console.print(line, soft_wrap=True)


class Failure(click.ClickException):
    """An error of this client, shown as its command was asked to show things."""

    exit_code = 1

    def __init__(self, error: TextmillError, *, as_json: bool) -> None:
        super().__init__(error.detail)
        self._error = error
        self._as_json = as_json

    def show(self, file: IO[Any] | None = None) -> None:
        if self._as_json:
            click.echo(json.dumps(self._error.problem(), ensure_ascii=False), err=True, file=file)
            return
        console = Console(file=file, stderr=file is None)
        for line in error_lines(self._error):
            console.print(line, soft_wrap=True)


def error_lines(error: TextmillError) -> list[Text]:
    """An error as people read it: what, which fields, what to do."""
    first, *more = error.lines()
    if isinstance(error, ApiError):
        first = error.detail  # status and code are for programs
    lines = [Text.assemble(("Error: ", "bold red"), plain(first))]
    lines += [Text(plain(line)) for line in more]
    if error.hint:
        lines.append(Text(plain(error.hint), style="dim"))
    return lines


def connected(function: Callable[Concatenate[Session, P], R]) -> Callable[..., R]:
    """Give a command ``--url``, ``--api-key`` and ``--json``, and turn its errors into exit statuses."""

    @click.option("--url", metavar="URL", help="Server; else TEXTMILL_URL.")
    @click.option(
        "--api-key",
        metavar="KEY",
        help="API key; better in TEXTMILL_API_KEY, where other users cannot see it.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the API's object, nothing else.")
    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        session = Session(
            url=_text(kwargs.pop("url")),
            api_key=_text(kwargs.pop("api_key")),
            json=bool(kwargs.pop("as_json")),
        )
        try:
            return function(session, *args, **kwargs)
        except InputError as error:
            raise click.UsageError(str(error)) from error
        except TextmillError as error:
            raise Failure(error, as_json=session.json) from error
        except BrokenPipeError:
            leave_quietly()
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            local = TextmillError(f"{place}{error.strerror or error}")
            raise Failure(local, as_json=session.json) from error
        except KeyboardInterrupt:
            click.echo(err=True)
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None

    return command


def write_bytes(data: bytes) -> None:
    """Write to stdout, all of it, at once."""
    click.echo(data, nl=False)


def leave_quietly() -> NoReturn:
    """End because the reader of stdout went away: nothing is left to say, and nobody to say it to."""
    with contextlib.suppress(OSError, ValueError):  # where stdout is no real file
        # Python flushes stdout once more at its end, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise click.exceptions.Exit(EXIT_BROKEN_PIPE)


def output_path(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> Path | None:
    """A click callback: where to write, checked before anything is asked of the server. ``-`` is stdout."""
    if value is None or value == "-":
        return None if value is None else Path("-")
    path = Path(value)
    if path.is_dir():
        raise click.BadParameter(f"{value} is a folder; give a file's path")
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}")
    return path


def next_step(what: str, command: str) -> Text:
    """A line that says how to go on."""
    return Text.assemble((f"{what}  ", "dim"), (command, "bold"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
