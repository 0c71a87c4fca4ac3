"""``textmill-server corpora``: folders of this machine into the object store and out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jobs.errors import InvalidRequest
from jobs.s3uri import S3Pattern
from server.cli.common import DATA_DIR, reports_errors, settings_of
from server.mirroring import Mirrored, get_folder, put_folder
from storage.objects import ObjectMissing, ObjectStore


@click.group()
def corpora() -> None:
    """Folders of files, to and from the object store: put, get."""


@corpora.command("put")
@DATA_DIR
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("uri")
@click.option("--delete", "remove", is_flag=True, help="Remove objects there that are no file.")
@reports_errors
def put(data_dir: Path | None, folder: Path, uri: str, remove: bool) -> None:
    """Have the objects below URI (s3://bucket/prefix/) be the files of FOLDER. Only what is new or other is sent."""
    store, prefix = _place(data_dir, uri)
    with _shown("sending") as tell, _local_faults():
        done = put_folder(store, folder, prefix, remove=remove, tell=tell)
    _say(done, "sent")


@corpora.command("get")
@DATA_DIR
@click.argument("uri")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@reports_errors
def get(data_dir: Path | None, uri: str, folder: Path) -> None:
    """Have FOLDER hold the objects below URI (s3://bucket/prefix/). Only what is new or other is fetched."""
    store, prefix = _place(data_dir, uri)
    try:
        with _shown("fetching") as tell, _local_faults():
            done = get_folder(store, prefix, folder, tell=tell)
    except ObjectMissing:
        raise InvalidRequest(f"nothing lies at {uri}") from None
    _say(done, "fetched")


def _place(data_dir: Path | None, uri: str) -> tuple[ObjectStore, str]:
    settings = settings_of(data_dir)
    place = S3Pattern.parse(uri)
    if not uri.startswith("s3://") or not place.bucket or not uri.endswith("/"):
        raise InvalidRequest(f"expected s3://bucket/prefix/, with a / at its end, found {uri!r}")
    if place.bucket == settings.s3_bucket:
        raise InvalidRequest(f"{place.bucket} is Textmill's own bucket; corpora lie in others")
    return ObjectStore.connect(settings).in_bucket(place.bucket), place.pattern


@contextmanager
def _local_faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        raise InvalidRequest(f"{where}{(error.strerror or str(error)).lower()}") from None


@contextmanager
def _shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar where a person watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _say(done: Mirrored, verb: str) -> None:
    removed = f", {done.removed} removed" if done.removed else ""
    click.echo(f"{done.sent} {verb}, {done.same} unchanged{removed}")
