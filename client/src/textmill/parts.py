"""Uploads of large files by parts: several at once, gone on with after a break, also by another process."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

from textmill.call import Call, Reply, call
from textmill.errors import (
    ConnectionFailed,
    InvalidRequest,
    NotFound,
    TransferFailed,
    Unavailable,
)
from textmill.paging import MAX_PAGE, every, to_page
from textmill.transport import Transport
from textmill.upload import FileBody

#: Files of this size and more go by parts.
PARTS_FROM = 64 << 20

#: Parts on their way at once.
THREADS = 3

#: How many of the newest unfinished uploads are looked through for one of the same file.
_SEARCHED = 200

#: What the server may need beyond the usual timeout to join and hash what it has.
_JOINING_SECONDS = 3600.0

_KEPT = "What has arrived is kept for a day: upload the same file again to go on."


class _Stopped(Exception):
    """Another part has failed."""


@dataclass(frozen=True)
class _Part:
    number: int  #: from 1
    offset: int
    length: int


class PartsUpload:
    """One file on its way.

    Args:
        transport: to the server.
        body: the file, seekable.
        filename: what the server calls it.
    """

    def __init__(self, transport: Transport, body: FileBody, filename: str) -> None:
        self._transport = transport
        self._body = body
        self._filename = filename
        self._size = body.size or 0
        self._lock = threading.Lock()
        self._sent: dict[int, int] = {}
        self._stop = threading.Event()
        self._heard = time.monotonic()  #: when the server last took something

    def run(self) -> Mapping[str, Any]:
        """Upload what the server does not have yet; the file as the API shows it.

        Raises:
            TransferFailed: the file changed meanwhile, or was damaged on its way.
            ConnectionFailed: the server stayed away.
        """
        try:
            upload = self._unfinished() or self._begin()
            parts = list(_cut(self._size, upload["part_bytes"]))
            missing = [part for part in parts if part.number not in self._sent]
            return self._complete(upload["id"], self._send_all(upload["id"], missing))
        except (ConnectionFailed, Unavailable) as error:
            error.hint = _KEPT
            raise

    # --- which upload ------------------------------------------------------------------------------

    def _begin(self) -> Mapping[str, Any]:
        body = {"filename": self._filename, "bytes": self._size}
        upload: Mapping[str, Any] = self._transport.send(
            call("POST", "uploads", body=body, repeatable=True)  # a second one is dropped in a day
        ).parse(_checked)
        self._report()
        return upload

    def _unfinished(self) -> Mapping[str, Any] | None:
        """An earlier upload of this very file, whose parts are noted as sent."""
        pages = every(
            lambda after: self._transport.send(
                call("GET", "uploads", query={"after": after, "limit": MAX_PAGE})
            ).parse(lambda raw: to_page(raw, dict))
        )
        for known in islice(pages, _SEARCHED):
            if (known.get("filename"), known.get("bytes")) != (self._filename, self._size):
                continue
            try:
                upload: Mapping[str, Any] = self._transport.send(
                    call("GET", "uploads", known["id"])
                ).parse(_checked)
            except NotFound:
                continue  # ended meanwhile
            if upload.get("status") == "open" and self._matches(upload):
                return upload
        return None

    def _matches(self, upload: Mapping[str, Any]) -> bool:
        """Whether all parts that have arrived are of this file. Their names alone say little: it may have changed."""
        cut = {part.number: part for part in _cut(self._size, upload["part_bytes"])}
        found: dict[int, int] = {}
        for known in upload.get("parts") or ():
            part = cut.get(known["number"])
            if part is None or known["bytes"] != part.length:
                return False
            if known["sha256"] != self._body.digest(part.offset, part.length):
                return False
            found[part.number] = part.length
        self._sent = found
        self._report()
        return True

    # --- parts -------------------------------------------------------------------------------------

    def _send_all(self, upload_id: str, parts: list[_Part]) -> str:
        """Send the parts; meanwhile hash the whole, in hex."""
        pool = ThreadPoolExecutor(THREADS, "textmill-upload")
        try:
            futures = [pool.submit(self._send, upload_id, part) for part in parts]
            digest = hashlib.sha256()
            for chunk in self._body.section(0, self._size):
                if self._stop.is_set():
                    break
                digest.update(chunk)
            _settle(futures)
            return digest.hexdigest()
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _send(self, upload_id: str, part: _Part) -> None:
        body = _PartBody(self, part)
        request = call("PUT", "uploads", upload_id, "parts", str(part.number))
        request = request.with_headers(Content_Type="application/octet-stream")
        try:
            answer = self._patiently(request, body).parse(lambda raw: str(raw["sha256"]))
            _compare(f"part {part.number} of {self._filename}", answer, body.sha256)
        except BaseException:
            self._stop.set()
            raise

    def _patiently(self, request: Call, body: _PartBody | None = None) -> Reply:
        """Send, and again for as long as an outage may last: a large file is not given up for a restart."""
        policy = self._transport.policy
        pause = min(policy.max_seconds, policy.base_seconds)
        while True:
            stopped = self._stop.is_set()
            try:
                reply = self._transport.send(request, body)
            except (ConnectionFailed, Unavailable):
                away = time.monotonic() - self._heard
                if stopped or policy.attempts == 1 or away > policy.outage_seconds:
                    raise
                self._stop.wait(pause)
            else:
                self._heard = time.monotonic()
                return reply

    def sections(self, part: _Part) -> Iterator[bytes]:
        """The bytes of a part, reported as they are sent."""
        sent = 0
        self._note(part, 0)
        for chunk in self._body.section(part.offset, part.length):
            if self._stop.is_set():
                raise _Stopped
            yield chunk
            sent += len(chunk)
            self._note(part, sent)

    def _note(self, part: _Part, sent: int) -> None:
        with self._lock:
            self._sent[part.number] = sent
            self._body.progress(sum(self._sent.values()), self._size)

    def _report(self) -> None:
        with self._lock:
            self._body.progress(sum(self._sent.values()), self._size)

    # --- the end -----------------------------------------------------------------------------------

    def _complete(self, upload_id: str, digest: str) -> Mapping[str, Any]:
        request = call(
            "POST", "uploads", upload_id, "complete", body={"sha256": digest}, repeatable=True
        )
        self._heard, self._stop = time.monotonic(), threading.Event()
        try:
            raw: Mapping[str, Any] = self._patiently(request.allowing(_JOINING_SECONDS)).body
        except InvalidRequest as error:
            if all(wrong.field != "sha256" for wrong in error.errors):
                raise
            self._transport.send(call("DELETE", "uploads", upload_id))
            raise TransferFailed(
                f"{self._filename} changed while it was sent: the checksums differ"
            ) from error
        self._body.sha256 = digest
        return raw


class _PartBody:
    """One part as the body of a request."""

    can_start = True

    def __init__(self, upload: PartsUpload, part: _Part) -> None:
        self._upload = upload
        self._part = part
        self.size: int | None = part.length
        self.sha256 = ""  #: hex digest of what was last sent, once all of it was

    def chunks(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for chunk in self._upload.sections(self._part):
            digest.update(chunk)
            yield chunk
        self.sha256 = digest.hexdigest()


def _cut(size: int, part_bytes: int) -> Iterator[_Part]:
    for number, offset in enumerate(range(0, size, part_bytes), 1):
        yield _Part(number, offset, min(part_bytes, size - offset))


def _settle(futures: list[Future[None]]) -> None:
    """Wait until all are done, or raise why one is not."""
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    failures = [one.exception() for one in done if not one.cancelled()]
    found = [one for one in failures if one is not None]
    for failure in sorted(found, key=lambda one: isinstance(one, _Stopped)):
        raise failure


def _compare(what: str, answered: str, sent: str) -> None:
    if answered != sent:
        raise TransferFailed(f"{what} was damaged on its way: the checksums differ")


def _checked(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """An upload whose fields are such that they can be worked with."""
    if not isinstance(raw["id"], str) or not raw["part_bytes"] > 0:
        raise ValueError("not an upload")
    return raw
