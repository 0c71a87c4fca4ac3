"""``files put``, ``list``, ``get`` and ``delete``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.text import Text

from textmill.cli.common import Session, connected, next_step, output_path, write_bytes
from textmill.cli.tables import files_table, now
from textmill.paging import MAX_PAGE
from textmill.progress import TransferBar
from textmill.wording import size


@click.group()
def files() -> None:
    """Upload, list, download and delete files."""


@files.command()
@click.argument("path")
@click.option("--name", metavar="NAME", help="What the server calls it; by default its own name.")
@connected
def put(session: Session, /, *, path: str, name: str | None) -> None:
    """Upload a file of any size. PATH - reads stdin and needs --name.

    A large file that was broken off is gone on with when the same command is given again.
    """
    if path == "-" and not name:
        raise click.UsageError("stdin has no name; give one: --name rows.jsonl")
    source = sys.stdin.buffer if path == "-" else path
    with session.client() as tm, TransferBar(name or Path(path).name) as bar:
        file = tm.files.upload(source, filename=name, progress=None if session.json else bar.update)
    session.show(file.raw, files_table([file], now()))


@files.command("list")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=20, show_default=True)
@click.option("--after", metavar="FILE", help="Go on after this file of an earlier list.")
@connected
def list_files(session: Session, /, *, limit: int, after: str | None) -> None:
    """List files, newest first."""
    with session.client() as tm:
        page = tm.files.page(after=after, limit=limit)
    shown = files_table(page.data, now()) if page.data else Text("No files.", style="dim")
    session.show(page.raw, shown)
    if page.has_more and page.next_after:
        session.note(next_step("more", f"textmill files list --after {page.next_after}"))


@files.command()
@click.argument("file_id", metavar="FILE")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    callback=output_path,
    help="Save the content there; - is stdout. Without it the file's record is shown.",
)
@connected
def get(session: Session, /, *, file_id: str, output: Path | None) -> None:
    """Download a file, or show its record.

    What was broken off is gone on with when the same command is given again.
    """
    if session.json and output == Path("-"):
        raise click.UsageError("--json and -o - both want stdout; choose one")
    with session.client() as tm:
        if output == Path("-"):
            for chunk in tm.files.content(file_id):
                write_bytes(chunk)
            return
        file = tm.files.get(file_id)
        if output is not None:
            with TransferBar(output.name, action="download") as bar:
                progress = None if session.json else bar.update
                tm.files.download(file_id, output, progress=progress)
    if output is None or session.json:
        session.show(file.raw, files_table([file], now()))
    else:
        written = f" ({size(file.bytes)})"
        session.note(Text.assemble(("saved  ", "dim"), (str(output), "bold"), (written, "dim")))


@files.command()
@click.argument("file_id", metavar="FILE")
@connected
def delete(session: Session, /, *, file_id: str) -> None:
    """Delete a file."""
    with session.client() as tm:
        answer = tm.files.delete(file_id)
    session.show(answer, Text(f"Deleted {file_id}."))
