"""A large file that goes to the server by parts: what both clients know of it while it is on its way."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from textmill.call import Call, call
from textmill.errors import InvalidRequest, TransferFailed
from textmill.paging import MAX_PAGE
from textmill.retry import RetryPolicy
from textmill.upload import FileBody

#: Files of this size and more go by parts.
PARTS_FROM = 64 << 20

#: Parts on their way at once.
AT_ONCE = 3

#: How many of the newest unfinished uploads are looked through for one of the same file.
SEARCHED = 200

#: What to do where the server stayed away.
KEPT = "What has arrived is kept for a day: upload the same file again to go on."

#: What the server may need beyond the usual timeout to join and hash what it has.
_JOINING_SECONDS = 3600.0


def goes_by_parts(body: object) -> TypeGuard[FileBody]:
    """Whether what is to be uploaded is a file that is worth cutting up."""
    return isinstance(body, FileBody) and (body.size or 0) >= PARTS_FROM


class Stopped(Exception):
    """Another part has failed."""


@dataclass(frozen=True)
class Part:
    """A section of the file."""

    number: int  #: from 1
    offset: int
    length: int


class Parcel:
    """One file on its way. Safe to use from several threads.

    Args:
        body: the file, seekable.
        filename: what the server calls it.
        policy: how long the server may be away.
    """

    def __init__(self, body: FileBody, filename: str, policy: RetryPolicy) -> None:
        self.filename = filename
        self.stop = threading.Event()  #: nothing more is to be read
        self._body = body
        self._size = body.size or 0
        self._policy = policy
        self._lock = threading.Lock()
        self._sent: dict[int, int] = {}
        self._heard = time.monotonic()  #: when the server last took something

    # --- calls -------------------------------------------------------------------------------------

    def beginning(self) -> Call:
        """Begin an upload; a second one of the same file is dropped in a day."""
        body = {"filename": self.filename, "bytes": self._size}
        return call("POST", "uploads", body=body, repeatable=True)

    def listing(self, after: str | None) -> Call:
        """A page of unfinished uploads."""
        return call("GET", "uploads", query={"after": after, "limit": MAX_PAGE})

    def sending(self, upload_id: str, part: Part) -> Call:
        """Send a part; its body is a :class:`PartBody`."""
        request = call("PUT", "uploads", upload_id, "parts", str(part.number))
        return request.with_headers(Content_Type="application/octet-stream")

    def completing(self, upload_id: str, digest: str) -> Call:
        """Join the parts to a file with this SHA-256, in hex."""
        body = {"sha256": digest}
        request = call("POST", "uploads", upload_id, "complete", body=body, repeatable=True)
        return request.allowing(_JOINING_SECONDS)

    # --- what the server has -------------------------------------------------------------------------

    def may_be(self, known: Mapping[str, Any]) -> bool:
        """Whether a listed upload may be one of this file."""
        return (known.get("filename"), known.get("bytes")) == (self.filename, self._size)

    def goes_on(self, upload: Mapping[str, Any]) -> bool:
        """Whether all parts that an open upload has are of this file; they then count as sent.

        Their names alone say little: the file may have changed. It is read for that.
        """
        if upload.get("status") != "open":
            return False
        cut = {part.number: part for part in self._cut(upload)}
        found: dict[int, int] = {}
        for known in upload.get("parts") or ():
            part = cut.get(known["number"])
            if part is None or known["bytes"] != part.length:
                return False
            if known["sha256"] != self._body.digest(part.offset, part.length):
                return False
            found[part.number] = part.length
        self._sent = found
        self.report()
        return True

    def missing(self, upload: Mapping[str, Any]) -> list[Part]:
        """The parts that the server does not have yet."""
        return [part for part in self._cut(upload) if part.number not in self._sent]

    def _cut(self, upload: Mapping[str, Any]) -> Iterator[Part]:
        size = upload["part_bytes"]
        for number, offset in enumerate(range(0, self._size, size), 1):
            yield Part(number, offset, min(size, self._size - offset))

    # --- reading -----------------------------------------------------------------------------------

    def digest(self) -> str:
        """SHA-256 of the whole file, in hex; of no meaning once stopped."""
        digest = hashlib.sha256()
        for chunk in self._body.section(0, self._size):
            if self.stop.is_set():
                break
            digest.update(chunk)
        return digest.hexdigest()

    def sections(self, part: Part) -> Iterator[bytes]:
        """The bytes of a part, reported as they are sent.

        Raises:
            Stopped: nothing more is to be read.
        """
        sent = 0
        self._note(part, 0)
        for chunk in self._body.section(part.offset, part.length):
            if self.stop.is_set():
                raise Stopped
            yield chunk
            sent += len(chunk)
            self._note(part, sent)

    def report(self) -> None:
        """Say how much has been sent."""
        with self._lock:
            self._body.progress(sum(self._sent.values()), self._size)

    def _note(self, part: Part, sent: int) -> None:
        with self._lock:
            self._sent[part.number] = sent
            self._body.progress(sum(self._sent.values()), self._size)

    # --- outages and the end -------------------------------------------------------------------------

    @property
    def pause(self) -> float:
        """Seconds between two tries while the server is away."""
        return min(self._policy.max_seconds, self._policy.base_seconds)

    def heard(self) -> None:
        """The server took something."""
        self._heard = time.monotonic()

    def is_lost(self) -> bool:
        """Whether the server has been away for too long: a large file is not given up for a restart."""
        away = time.monotonic() - self._heard
        return self._policy.attempts == 1 or away > self._policy.outage_seconds

    def arrived(self, digest: str) -> None:
        """The server has joined it."""
        self._body.sha256 = digest

    def changed(self, error: InvalidRequest) -> TransferFailed | None:
        """What to say where the server joined another file than was hashed; None: it refused for another reason."""
        if all(wrong.field != "sha256" for wrong in error.errors):
            return None
        return TransferFailed(f"{self.filename} changed while it was sent: the checksums differ")


class PartBody:
    """One part as the body of a request."""

    can_start = True

    def __init__(self, parcel: Parcel, part: Part) -> None:
        self._parcel = parcel
        self._part = part
        self.size: int | None = part.length
        self.sha256 = ""  #: hex digest of what was last sent, once all of it was

    def chunks(self) -> Iterator[bytes]:
        """The part's bytes in pieces."""
        digest = hashlib.sha256()
        for chunk in self._parcel.sections(self._part):
            digest.update(chunk)
            yield chunk
        self.sha256 = digest.hexdigest()

    def check(self, answered: str) -> None:
        """Compare with what the server says it got.

        Raises:
            TransferFailed: it is something else.
        """
        if answered != self.sha256:
            raise TransferFailed(
                f"part {self._part.number} of {self._parcel.filename} was damaged on its way: the checksums differ"
            )


def checked_upload(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """An upload whose fields are such that they can be worked with.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(raw["id"], str) or not raw["part_bytes"] > 0:
        raise ValueError("not an upload")
    return raw


def sha256_of(raw: Mapping[str, Any]) -> str:
    """What the server says a part's checksum is."""
    return str(raw["sha256"])
