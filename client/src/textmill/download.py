"""Downloads that go on where they broke off, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

from textmill.call import Call
from textmill.errors import ApiError, ConnectionFailed, TransferFailed, Unavailable
from textmill.partial import Kept, PartialFile
from textmill.transport import Transport

#: Called with the bytes received so far and the bytes in all (None where not known).
DownloadProgress = Callable[[int, "int | None"], None]

_CHANGED = "the content changed on the server during the download; start again"


def stream_bytes(transport: Transport, call: Call, *, resumable: bool = True) -> Iterator[bytes]:
    """The body of an answer, piece by piece.

    When the connection breaks, the rest is asked for by ``Range``; pieces already given never come again. A download
    that has begun bears an outage as long as waiting for a job does.

    Args:
        resumable: whether the server's bytes stay the same from one call to the next. When not, only a
            download that has given nothing yet is started again.

    Raises:
        TransferFailed: the content changed between two calls.
        ConnectionFailed: the connection broke and trying again did not help.
    """
    return _Stream(transport, call, resumable=resumable).pieces()


def fetch(
    transport: Transport,
    call: Call,
    path: Path,
    *,
    sha256: str | None = None,
    progress: DownloadProgress | None = None,
) -> None:
    """Save the body of an answer to ``path`` by way of ``<path>.part``, which is renamed once whole.

    What an earlier try left in that file is not asked for again, as long as the server still has the same version.
    Something that is no regular file, such as ``/dev/null`` or a pipe, is written to directly.

    Args:
        sha256: what the whole must have, in hex.
        progress: called with the bytes that are there and the bytes in all (None where not known).

    Raises:
        TransferFailed: the content changed meanwhile, or is not what it should be. Nothing is kept.
        ConnectionFailed: the connection broke and trying again did not help. What has arrived is kept.
    """
    partial = PartialFile.claim(path)
    if partial is None:  # somebody else writes there now, or it is no file
        save(stream_bytes(transport, call), path)
        return
    with partial:
        stream = _Stream(transport, call, kept=partial.kept)
        try:
            for piece in stream.pieces():
                partial.write(stream.offset, piece, stream.etag)
                if progress is not None:
                    progress(stream.offset + len(piece), stream.size)
            partial.finish(stream.offset, sha256)
        except TransferFailed:
            partial.discard()
            raise
        except ConnectionFailed as error:
            if partial.worth_keeping:
                error.hint = f"What has arrived is kept in {partial.path}: try again to go on."
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


class _Stream:
    """The body of an answer, of one version from its beginning to its end.

    Args:
        kept: what an earlier try has already; if the server has another version by now, all of it comes.
    """

    def __init__(
        self, transport: Transport, call: Call, *, resumable: bool = True, kept: Kept | None = None
    ) -> None:
        self._transport = transport
        self._resumable = resumable
        # Compressed transfer would make byte positions meaningless.
        self._call = call.with_headers(Accept="*/*", Accept_Encoding="identity")
        self.offset = (
            kept.bytes if kept else 0
        )  #: of the piece that was given last; at the end of the body its size
        self.etag = kept.etag if kept else None
        self.size: int | None = None  #: of the whole, where known
        self._begun = False  #: whether an answer has come
        self._heard = time.monotonic()  #: when bytes last came

    def pieces(self) -> Iterator[bytes]:
        failures, policy = 0, self._transport.policy
        while True:
            asked = self._asked()
            try:
                with self._transport.stream(asked) as response:
                    skip = self._bytes_to_skip(response)
                    # As it arrives: pieces gathered to a size would be lost when the connection breaks.
                    for chunk in response.iter_raw():
                        piece = chunk[skip:]
                        skip -= len(chunk) - len(piece)
                        if piece:
                            failures, self._heard = 0, time.monotonic()
                            yield piece
                            self.offset += len(piece)
                    return
            except httpx.TransportError as error:
                failures += 1
                pause = policy.pause(failures)
                if pause is None or (self.offset and not self._resumable):
                    raise self._transport.failure(error) from error
                time.sleep(pause)
            except (ConnectionFailed, Unavailable):
                if not self._bears_outage():
                    raise
                time.sleep(min(policy.max_seconds, policy.base_seconds))
            except ApiError as error:
                if self._is_whole(error):
                    return

    def _asked(self) -> Call:
        if not self.offset:
            return self._call
        asked = self._call.with_headers(Range=f"bytes={self.offset}-")
        return asked.with_headers(If_Range=self.etag) if self.etag else asked

    def _bears_outage(self) -> bool:
        policy = self._transport.policy
        patient = self._begun and self._resumable and policy.attempts > 1
        return patient and time.monotonic() - self._heard <= policy.outage_seconds

    def _is_whole(self, refusal: ApiError) -> bool:
        """Whether a range was refused because all is there; raises the refusal where there is no way to go on."""
        if refusal.status != 416 or not self.offset:
            raise refusal
        # Broken off right after the last byte: there is nothing left to ask for.
        if _total(refusal.headers) == self.offset:
            return True
        if self._begun:
            raise refusal
        self.offset, self.etag = 0, None  # what was kept is of something else
        return False

    def _bytes_to_skip(self, response: httpx.Response) -> int:
        """How many bytes of this answer were received before. Checks that it continues what is there."""
        etag, continues = response.headers.get("etag"), response.status_code == 206
        total = _total(response.headers) if continues else _length(response.headers)
        start = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
        if not self._begun:
            if self.offset and not (continues and etag == self.etag and start == str(self.offset)):
                if continues:
                    raise TransferFailed(_CHANGED)
                self.offset = 0
            self._begun, self.etag, self.size = True, etag, total
            return 0
        if not self.offset:
            self.etag, self.size = etag, total
            return 0
        if etag != self.etag:
            raise TransferFailed(_CHANGED)
        if not continues:
            # No Range here. Without an ETag nothing shows that these are the same bytes.
            if etag is None:
                raise TransferFailed("the server cannot continue a broken download; start again")
            return self.offset
        if start != str(self.offset) or (None not in (self.size, total) and total != self.size):
            raise TransferFailed(_CHANGED)
        return 0


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


def _total(headers: httpx.Headers | dict[str, str]) -> int | None:
    """The whole size that a ``Content-Range`` names (RFC 9110, 14.4)."""
    total = headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None


def _length(headers: httpx.Headers) -> int | None:
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else None
