"""Downloads that go on where they broke off, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

from textmill.call import Call
from textmill.errors import ApiError, TransferFailed
from textmill.transport import Transport


def stream_bytes(transport: Transport, call: Call, *, resumable: bool = True) -> Iterator[bytes]:
    """The body of an answer, piece by piece.

    When the connection breaks, the rest is asked for by ``Range``; pieces already given never come again.

    Args:
        resumable: whether the server's bytes stay the same from one call to the next. When not, only a
            download that has given nothing yet is started again.

    Raises:
        TransferFailed: the content changed between two calls.
        ConnectionFailed: the connection broke and trying again did not help.
    """
    received = 0
    first: httpx.Headers | None = None
    failures = 0
    while True:
        # Compressed transfer would make byte positions meaningless.
        asked = call.with_headers(Accept="*/*", Accept_Encoding="identity")
        if received:
            asked = asked.with_headers(Range=f"bytes={received}-")
        try:
            with transport.stream(asked) as response:
                skip = _bytes_to_skip(response, received, first)
                first = first if received else response.headers
                # As it arrives: pieces gathered to a size would be lost when the connection breaks.
                for chunk in response.iter_raw():
                    piece = chunk[skip:]
                    skip -= len(chunk) - len(piece)
                    if piece:
                        failures = 0
                        received += len(piece)
                        yield piece
                return
        except httpx.TransportError as error:
            failures += 1
            pause = transport.policy.pause(failures)
            if pause is None or (received and not resumable):
                raise transport.failure(error) from error
            time.sleep(pause)
        except ApiError as error:
            # Broken off right after the last byte: there is nothing left to ask for.
            if error.status == 416 and received and _total(error.headers) == received:
                return
            raise


def json_lines(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL body. Holds one line and one piece at a time.

    Raises:
        TransferFailed: a line is not JSON.
    """
    for number, line in enumerate(_lines(chunks), start=1):
        if line.strip():
            yield _row(number, line)


def save(chunks: Iterable[bytes], path: Path) -> int:
    """Write to ``path`` by way of a file beside it that is renamed once whole. Returns the bytes written.

    What was at ``path`` stays as it was until then, and for good when something fails. Something that is no
    regular file, such as ``/dev/null`` or a pipe, is written to directly.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as sink:
            return _write(chunks, sink.fileno())
    target = path.resolve()  # a symbolic link keeps pointing at what it points at
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as sink:
            written = _write(chunks, sink.fileno())
            os.fsync(sink.fileno())
        partial.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    return written


def _row(number: int, line: bytes) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise TransferFailed(f"line {number} of the answer is not JSON: {error}") from None
    return row


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _write(chunks: Iterable[bytes], descriptor: int) -> int:
    written = 0
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]
        written += len(chunk)
    return written


def _bytes_to_skip(response: httpx.Response, received: int, first: httpx.Headers | None) -> int:
    """How many bytes of this answer were received before. Checks that it continues the first answer."""
    if first is None or not received:
        return 0
    changed = TransferFailed("the content changed on the server during the download; start again")
    if response.headers.get("etag") != first.get("etag"):
        raise changed
    if response.status_code != 206:
        # No Range here. Without an ETag nothing shows that these are the same bytes.
        if "etag" not in first:
            raise TransferFailed("the server cannot continue a broken download; start again")
        return received
    start = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    total, length = _total(response.headers), first.get("content-length")
    if start != str(received) or (length and total is not None and total != int(length)):
        raise changed
    return 0


def _total(headers: httpx.Headers | dict[str, str]) -> int | None:
    """The whole size that a ``Content-Range`` names (RFC 9110, 14.4)."""
    total = headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None
