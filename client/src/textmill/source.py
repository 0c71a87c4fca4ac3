"""What a job reads: turns whatever the caller has into the ``input`` of a submission."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from textmill.errors import InputError
from textmill.files import File, Files, open_input
from textmill.job import JobState
from textmill.upload import RowsBody, UploadProgress, encode_row, file_sha256

#: Rows beyond either limit of the server travel as a file instead of inside the submission.
MAX_INLINE_ROWS = 1_000
#: The server's limit is 1 MiB by its own encoding; this leaves room for a difference.
MAX_INLINE_BYTES = 768 << 10

#: What a job can read: a path, an ``s3://`` URI, an uploaded file or its id, a file open in binary mode, rows, each an
#: object or a plain text, or another job or its id.
Source = str | Path | File | JobState | BinaryIO | Sequence[Mapping[str, Any] | str]

_FILE_ID = re.compile(r"file_[0-9a-hjkmnp-tv-z]{26}")
_JOB_ID = re.compile(r"(?:job:)?(job_[0-9a-hjkmnp-tv-z]{26})")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A submission's source, ready to be sent."""

    entry: Mapping[str, Any]  #: one of ``items``, ``file``, ``uri`` and ``job``
    uploaded: File | None = None  #: the file that was uploaded for it, if any


def named(source: Source) -> Prepared | None:
    """A source that is on the server already, by the name that the submission gives it; None for one that is not.

    Raises:
        InputError: it is a URI that no job can read.
    """
    if isinstance(source, File):
        return Prepared(entry={"file": source.id})
    if isinstance(source, JobState):
        return Prepared(entry={"job": source.id})
    if isinstance(source, str):
        if source.startswith("s3://"):
            return Prepared(entry={"uri": source})
        if "://" in source:
            raise InputError(f"cannot read {source!r}: expected a path, s3://… or a file's id")
        if _FILE_ID.fullmatch(source):
            return Prepared(entry={"file": source})
        if match := _JOB_ID.fullmatch(source):
            return Prepared(entry={"job": match[1]})
    return None


def prepare(
    source: Source,
    files: Files,
    *,
    text_field: str,
    filename: str | None = None,
    reuse: bool = False,
    progress: UploadProgress | None = None,
) -> Prepared:
    """Upload what must be uploaded and say how the submission names it.

    Args:
        text_field: where a plain text goes in the row made of it.
        filename: what an upload is called, instead of its own name.
        reuse: whether a file of the same name and content that is on the server already may be used. A
            submission repeated with its own idempotency key then has the same body.

    Raises:
        InputError: it is nothing that a job can read.
    """
    known = named(source)
    if known is not None:
        return known
    if isinstance(source, str):
        source = Path(source)
    if isinstance(source, Path):
        with open_input(source) as opened:
            return _upload(opened, filename or source.name, files, reuse, progress)
    readable = hasattr(source, "read")
    if isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray)):
        return _rows(
            source,
            files,
            text_field=text_field,
            filename=filename,
            reuse=reuse,
            progress=progress,
        )
    if readable and not isinstance(source, (File, JobState)):
        own = getattr(source, "name", None)
        name = filename or (Path(own).name if isinstance(own, str) else "input.jsonl")
        return _upload(source, name, files, reuse, progress)
    raise InputError(
        f"cannot read rows from {type(source).__name__}; expected a path, s3://…, a file or a list of rows"
    )


def _upload(
    opened: BinaryIO, filename: str, files: Files, reuse: bool, progress: UploadProgress | None
) -> Prepared:
    if reuse and opened.seekable():
        known = files.find(sha256=file_sha256(opened), filename=filename)
        if known is not None:
            return Prepared(entry={"file": known.id})
    uploaded = files.upload(opened, filename=filename, progress=progress)
    return Prepared(entry={"file": uploaded.id}, uploaded=uploaded)


def _rows(
    source: Sequence[Mapping[str, Any] | str],
    files: Files,
    *,
    text_field: str,
    filename: str | None,
    reuse: bool,
    progress: UploadProgress | None,
) -> Prepared:
    if not source:
        raise InputError("the list of rows is empty")
    rows = [_row(number, row, text_field) for number, row in enumerate(source)]
    size = 0
    for row in rows[:MAX_INLINE_ROWS]:
        size += len(encode_row(row)) + 1
        if size > MAX_INLINE_BYTES:
            break
    if len(rows) <= MAX_INLINE_ROWS and size <= MAX_INLINE_BYTES:
        return Prepared(entry={"items": rows})
    name = filename or "rows.jsonl"
    if reuse:
        known = files.find(sha256=RowsBody(rows).digest(), filename=name)
        if known is not None:
            return Prepared(entry={"file": known.id})
    uploaded = files.send(RowsBody(rows, progress=progress), name)
    return Prepared(entry={"file": uploaded.id}, uploaded=uploaded)


def _row(number: int, row: Mapping[str, Any] | str, text_field: str) -> dict[str, Any]:
    if isinstance(row, str):
        return {text_field: row}
    if isinstance(row, Mapping):
        return dict(row)
    raise InputError(f"row {number}: expected an object or a text, found {type(row).__name__}")
