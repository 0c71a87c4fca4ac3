"""Downloads in bounded memory that go on where they broke off, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from textmill.aio.resume import Download
from textmill.aio.transport import AsyncTransport
from textmill.call import Call
from textmill.errors import ApiError, TransferFailed

if TYPE_CHECKING:
    from typing_extensions import Self


async def stream_bytes(
    transport: AsyncTransport, call: Call, *, resumable: bool = True
) -> AsyncIterator[bytes]:
    """The body of an answer, piece by piece. When the connection breaks, the rest is asked for by ``Range``.

    Args:
        resumable: whether the server's bytes stay the same from one call to the next.

    Raises:
        TransferFailed: the content changed between two calls.
        ConnectionFailed: the connection broke and trying again did not help.
    """
    download = Download(call, transport.policy, resumable=resumable)
    while True:
        try:
            async with transport.stream(download.request()) as response:
                download.opened(response)
                async for chunk in response.aiter_raw():
                    if piece := download.take(chunk):
                        yield piece
                return
        except httpx.TransportError as error:
            pause = download.broke()
            if pause is None:
                raise transport.failure(error) from error
        except ApiError as error:
            if download.is_over(error):
                return
            raise
        await asyncio.sleep(pause)


async def json_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The objects of a JSONL body. Holds one line and one piece at a time.

    Raises:
        TransferFailed: a line is not JSON.
    """
    rows = _Rows()
    async for chunk in chunks:
        for row in rows.feed(chunk):
            yield row
    for row in rows.end():
        yield row


async def save(
    chunks: AsyncIterator[bytes],
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> None:
    """Write to ``path`` by way of a file beside it that is renamed once whole.

    What was at ``path`` stays as it was until then, and for good when something fails or the task is cancelled.

    Args:
        size: bytes in all, where known; for ``progress`` alone.
        sha256: what the whole must have, in hex.
        progress: called with the bytes received so far and the bytes in all.

    Raises:
        TransferFailed: it is not what it should be.
    """
    written, digest = 0, hashlib.sha256()
    with _WholeFile(path) as sink:
        async for chunk in chunks:
            await asyncio.to_thread(sink.write, chunk)
            if sha256 is not None:
                digest.update(chunk)
            written += len(chunk)
            if progress is not None:
                progress(written, size)
        if sha256 is not None and digest.hexdigest() != sha256:
            raise TransferFailed(f"{path} was damaged on its way: the checksums differ")
        await asyncio.to_thread(sink.finish)


class _WholeFile:
    """A file that appears whole or not at all. What is no regular file, such as a pipe, is written to directly."""

    def __init__(self, path: Path) -> None:
        self._direct = path.exists() and not path.is_file()
        self._target = path if self._direct else path.resolve()  # where a symbolic link points
        name = f".{self._target.name}.{secrets.token_hex(4)}.part"
        self._partial = self._target if self._direct else self._target.with_name(name)
        self._sink = self._partial.open("wb" if self._direct else "xb")

    def write(self, chunk: bytes) -> None:
        """Add a piece."""
        self._sink.write(chunk)

    def finish(self) -> None:
        """Let it appear."""
        self._sink.flush()
        if not self._direct:
            os.fsync(self._sink.fileno())
            self._partial.replace(self._target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sink.close()
        if kind is not None and not self._direct:
            with contextlib.suppress(OSError):
                self._partial.unlink()


class _Rows:
    """Cuts pieces of a body into lines, and reads each."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """The rows that this piece completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return self._read(lines)

    def end(self) -> Iterator[dict[str, Any]]:
        """The last row, where no line end follows it."""
        return self._read([self._rest])

    def _read(self, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        for line in lines:
            self._number += 1
            if line.strip():
                yield _row(self._number, line)


def _row(number: int, line: bytes) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise TransferFailed(f"line {number} of the answer is not JSON: {error}") from None
    return row
