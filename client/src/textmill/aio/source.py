"""What a job reads, for the asynchronous client: as :mod:`textmill.source` prepares it, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from textmill.aio.files import AsyncFiles
from textmill.errors import InputError
from textmill.files import File, open_input
from textmill.job import JobState
from textmill.source import MAX_INLINE_BYTES, MAX_INLINE_ROWS, Prepared, Source, named
from textmill.upload import FileBody, RowsBody, UploadProgress, encode_row, file_sha256


async def prepare(
    source: Source,
    files: AsyncFiles,
    *,
    text_field: str,
    filename: str | None,
    reuse: bool,
    progress: UploadProgress | None,
) -> Prepared:
    """Upload what must be uploaded and say how the submission names it; see :func:`textmill.source.prepare`."""
    known = named(source)
    if known is not None:
        return known
    if isinstance(source, str):
        source = Path(source)
    if isinstance(source, Path):
        with open_input(source) as opened:
            return await _upload(opened, filename or source.name, files, reuse, progress)
    if isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray)):
        return await _rows(_listed(source, text_field), filename, files, reuse, progress)
    if hasattr(source, "read") and not isinstance(source, (File, JobState)):
        own = getattr(source, "name", None)
        name = filename or (Path(own).name if isinstance(own, str) else "input.jsonl")
        return await _upload(source, name, files, reuse, progress)
    raise InputError(
        f"cannot read rows from {type(source).__name__}; expected a path, s3://…, a file or a list of rows"
    )


async def _upload(
    opened: BinaryIO,
    filename: str,
    files: AsyncFiles,
    reuse: bool,
    progress: UploadProgress | None,
) -> Prepared:
    if reuse and opened.seekable():
        digest = await asyncio.to_thread(file_sha256, opened)
        known = await files.find(sha256=digest, filename=filename)
        if known is not None:
            return Prepared(entry={"file": known.id})
    uploaded = await files.send(FileBody(opened, progress=progress), filename)
    return Prepared(entry={"file": uploaded.id}, uploaded=uploaded)


async def _rows(
    rows: list[dict[str, Any]],
    filename: str | None,
    files: AsyncFiles,
    reuse: bool,
    progress: UploadProgress | None,
) -> Prepared:
    if _fits_inline(rows):
        return Prepared(entry={"items": rows})
    name = filename or "rows.jsonl"
    if reuse:
        digest = await asyncio.to_thread(RowsBody(rows).digest)
        known = await files.find(sha256=digest, filename=name)
        if known is not None:
            return Prepared(entry={"file": known.id})
    uploaded = await files.send(RowsBody(rows, progress=progress), name)
    return Prepared(entry={"file": uploaded.id}, uploaded=uploaded)


def _listed(source: Sequence[Mapping[str, Any] | str], text_field: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(source):
        if isinstance(row, str):
            rows.append({text_field: row})
        elif isinstance(row, Mapping):
            rows.append(dict(row))
        else:
            raise InputError(
                f"row {number}: expected an object or a text, found {type(row).__name__}"
            )
    if not rows:
        raise InputError("the list of rows is empty")
    return rows


def _fits_inline(rows: Sequence[dict[str, Any]]) -> bool:
    size = 0
    for row in rows[:MAX_INLINE_ROWS]:
        size += len(encode_row(row)) + 1
        if size > MAX_INLINE_BYTES:
            return False
    return len(rows) <= MAX_INLINE_ROWS
