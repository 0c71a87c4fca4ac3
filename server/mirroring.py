"""A folder of files and a prefix of a bucket, made alike: how a corpus gets in and what was made of it comes out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from jobs.errors import InvalidRequest
from storage.objects import PART_BYTES, ObjectInfo, ObjectStore

Item = TypeVar("Item")

#: Files on their way at the same time.
_THREADS = 8

#: Bytes of a file that are hashed at once.
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Mirrored:
    """What was done."""

    sent: int  #: files that were new or other
    same: int  #: that were there already
    removed: int


@dataclass(frozen=True)
class _File:
    """One file and the object that it is to be alike."""

    name: str  #: of the object
    path: Path


def put_folder(
    store: ObjectStore,
    folder: Path,
    prefix: str,
    *,
    remove: bool,
    tell: Callable[[int, int], None],
) -> Mirrored:
    """Have the objects below a prefix be the files of a folder. Only what is new or other is sent.

    Hidden files and folders are left out, and links to folders are not followed. Harmless when repeated.

    Args:
        store: the bucket, which is made where there is none.
        folder: its files, in folders or not.
        prefix: ends in ``/``, or is empty.
        remove: remove objects that are no file.
        tell: called with how many files are done, and of how many.

    Raises:
        InvalidRequest: a file's name is not UTF-8, or it cannot be read.
        Unavailable: the store is away; what was sent until then stays.
    """
    store.ensure_bucket()
    known = {info.name: info for info in store.list(prefix)}
    items = [_File(prefix + name, path) for name, path in _files(folder)]

    def send(item: _File) -> bool:
        there = known.get(item.name)
        if there is not None:
            same = _same(item.path, there)
            # The ETag of what came in parts is no digest of it. Since then the file was not changed.
            if same or (same is None and item.path.stat().st_mtime < _modified(there)):
                return False
        with item.path.open("rb") as file:
            store.put_stream(item.name, file)
        return True

    sent = _all(send, items, tell)
    gone = known.keys() - {item.name for item in items} if remove else set()
    for name in sorted(gone):
        store.delete(name)
    return Mirrored(sent=sent, same=len(items) - sent, removed=len(gone))


def get_folder(
    store: ObjectStore, prefix: str, folder: Path, *, tell: Callable[[int, int], None]
) -> Mirrored:
    """Have a folder hold the objects below a prefix. Only what is new or other is fetched; nothing is removed.

    Each file appears whole or not at all.

    Args:
        store: the bucket.
        prefix: ends in ``/``, or is empty.
        folder: made where there is none.
        tell: called with how many files are done, and of how many.

    Raises:
        InvalidRequest: nothing lies there, or an object's name cannot be one of a file in the folder.
        ObjectMissing: there is no such bucket.
        Unavailable: the store is away; what was fetched until then stays.
    """
    found = [info for info in store.list(prefix) if not info.name.endswith("/")]
    if not found:
        raise InvalidRequest(f"nothing lies at s3://{store.bucket}/{prefix}")
    items = [(info, folder / _below(info.name.removeprefix(prefix))) for info in found]

    def fetch(item: tuple[ObjectInfo, Path]) -> bool:
        info, path = item
        if path.is_file():
            same = _same(path, info)
            if same or (same is None and path.stat().st_mtime == _modified(info)):
                return False
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        with partial.open("wb") as file:
            for chunk in store.stream(info.name, etag=info.etag):
                file.write(chunk)
        os.utime(partial, (_modified(info), _modified(info)))
        partial.replace(path)
        return True

    sent = _all(fetch, items, tell)
    return Mirrored(sent=sent, same=len(items) - sent, removed=0)


def _all(do: Callable[[Item], bool], items: list[Item], tell: Callable[[int, int], None]) -> int:
    """Do something with each of many, several at a time; with how many there was something to do."""
    done = 0
    tell(0, len(items))
    with ThreadPoolExecutor(_THREADS, "mirror") as pool:
        try:
            for number, did in enumerate(pool.map(do, items), 1):
                done += did
                tell(number, len(items))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return done


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a folder by their names in it, in order."""
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(base) / name
            if name.startswith(".") or not path.is_file():
                continue
            relative = path.relative_to(folder).as_posix()
            try:
                relative.encode()
            except UnicodeEncodeError:
                raise InvalidRequest(f"{path!r}: expected a name in UTF-8") from None
            yield relative, path


def _same(path: Path, known: ObjectInfo) -> bool | None:
    """Whether a file is what an object is; None where only their sizes are known to be alike."""
    size = path.stat().st_size
    if known.size != size:
        return False
    if size >= PART_BYTES or "-" in known.etag:
        return None
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == known.etag


def _modified(info: ObjectInfo) -> float:
    return 0.0 if info.modified is None else info.modified.timestamp()


def _below(name: str) -> PurePosixPath:
    """An object's name as that of a file below a folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name.isprintable() or "\\" in name:
        raise InvalidRequest(f"an object's name is none that a file may have here: {name!r}")
    return path
