"""An upload under way and its parts, as values."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, unquote

from jobs.errors import InvalidRequest, TooLarge

#: Most parts of an upload; S3 takes no more.
MAX_PARTS = 10_000

#: Size of parts where the file is not too large for it; S3 wants at least 5 MiB.
PART_BYTES = 8 << 20
_MIB = 1 << 20

#: A part in the name of an object: number, order, bytes, SHA-256, ETag.
_PART = re.compile(r"(\d{5})-(\d+)-(\d+)-([0-9a-f]{64})-(.+)")


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An upload under way."""

    id: str  #: ``upload_…``; of one to a presigned URL the file's own id
    filename: str
    bytes: int | None  #: of the whole file, where said beforehand
    sha256: str | None  #: likewise
    part_bytes: int | None  #: size of all parts but the last; None to a presigned URL
    multipart: str | None  #: the store's own id of it; None to a presigned URL
    created_at: str
    expires_at: str

    @property
    def file_id(self) -> str:
        """Of the file that it becomes."""
        return file_id_of(self.id)

    def public(self) -> dict[str, Any]:
        """The upload as the API shows it, without what has arrived."""
        shown = {key: value for key, value in asdict(self).items() if key != "multipart"}
        return {"object": "upload", "status": "open", "file_id": self.file_id, **shown}


@dataclass(frozen=True, kw_only=True)
class UploadedPart:
    """One part that has arrived."""

    number: int  #: from 1
    bytes: int
    sha256: str
    etag: str  #: the store's
    order: int  #: of two of the same number the higher one counts: ns since 1970

    @property
    def name(self) -> str:
        """All of it in the name of an empty object, so that a listing tells of a thousand parts."""
        etag = quote(self.etag, safe="")
        return f"{self.number:05d}-{self.order}-{self.bytes}-{self.sha256}-{etag}"

    @classmethod
    def parse(cls, name: str) -> UploadedPart | None:
        """The inverse of :attr:`name`."""
        found = _PART.fullmatch(name)
        if found is None:
            return None
        number, order, size, sha256, etag = found.groups()
        return cls(
            number=int(number),
            bytes=int(size),
            sha256=sha256,
            etag=unquote(etag),
            order=int(order),
        )

    def public(self) -> dict[str, Any]:
        """The part as the API shows it."""
        return {"number": self.number, "bytes": self.bytes, "sha256": self.sha256}


def file_id_of(upload_id: str) -> str:
    """Id of the file that an upload becomes."""
    return "file_" + upload_id.rpartition("_")[2]


def checked_name(name: str) -> str:
    """The name of a file; one that is made up where it is empty.

    Raises:
        InvalidRequest: it is no plain name.
    """
    name = name or "upload.jsonl"
    bad = not name.isprintable() or len(name) > 255 or re.search(r"[\\/]", name)
    if bad or name.strip(". ") == "":
        raise InvalidRequest.of(
            "filename",
            "expected a plain file name: printable, at most 255 characters, no slashes",
            name,
        )
    return name


def part_bytes(size: int) -> int:
    """Size of parts so that a file of this size has at most :data:`MAX_PARTS` of them: whole MiB."""
    needed = -(-size // MAX_PARTS)
    return max(PART_BYTES, -(-needed // _MIB) * _MIB)


def part_end(upload: Upload, number: int, length: int) -> int:
    """Where a part ends in the whole file, in bytes.

    Raises:
        InvalidRequest, TooLarge: there can be no such part of this upload.
    """
    size = upload.part_bytes or 0
    last = MAX_PARTS if upload.bytes is None else -(-upload.bytes // size)
    if not 1 <= number <= last:
        raise InvalidRequest.of("number", f"expected a part from 1 to {last}", number)
    if length > size:
        raise TooLarge(f"the part has {length} bytes; parts of this upload have {size}")
    if length == 0:
        raise InvalidRequest.of("body", "the part is empty; expected at least one byte")
    before = (number - 1) * size
    if upload.bytes is not None and length != min(size, upload.bytes - before):
        expected = min(size, upload.bytes - before)
        raise InvalidRequest.of("body", f"part {number} has {expected} bytes", length)
    return before + length
