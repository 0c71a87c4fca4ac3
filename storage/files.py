"""Uploaded files: the content, then a record beside it that makes the file exist."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

import orjson

from jobs.errors import InvalidRequest, NotFound, TooLarge, shorten
from jobs.ids import is_id, new_id
from jobs.names import TenantNames
from storage.objects import ObjectMissing, ObjectStore


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """An uploaded file."""

    id: str
    filename: str
    bytes: int
    sha256: str
    created_at: str

    def public(self) -> dict[str, Any]:
        """The file as the API shows it."""
        return {"object": "file", **asdict(self)}


class _Measured(io.RawIOBase):
    """Passes a stream on while hashing and counting it, for as long as its size is admitted."""

    def __init__(self, source: BinaryIO, admit: Callable[[int], None]) -> None:
        self._source = source
        self._admit = admit
        self.digest = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        self.count += len(data)
        self._admit(self.count)
        return data


class FileTable:
    """The uploaded files of all tenants."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def upload(self, tenant: str, filename: str, stream: BinaryIO, limit: int) -> FileRecord:
        """Store a file from a stream, in bounded memory.

        Args:
            tenant: whose file.
            filename: its name, of which the ending tells the format.
            stream: the bytes.
            limit: most bytes taken.

        Raises:
            InvalidRequest: the file is empty.
            TooLarge: it is larger than the limit.
        """
        file_id = new_id("file")
        names = TenantNames(tenant)
        measured = _Measured(stream, lambda size: self.admit(tenant, size, limit))
        content = names.file_content(file_id)
        try:
            self._store.put_stream(content, cast(BinaryIO, measured))
            if measured.count == 0:
                raise InvalidRequest.of("file", "the file is empty; expected at least one byte")
        except (InvalidRequest, TooLarge):
            self._store.delete(content)
            raise
        record = FileRecord(
            id=file_id,
            filename=filename,
            bytes=measured.count,
            sha256=measured.digest.hexdigest(),
            created_at=moment(datetime.now(UTC)),
        )
        return self.enter(tenant, record)

    def admit(self, tenant: str, size: int, limit: int) -> None:
        """Judge the size of a file of this tenant that is coming, known as a whole or as far as it has come.

        Every way to upload asks here, and nowhere else.

        Raises:
            TooLarge: it is over the limit.
        """
        if size > limit:
            raise TooLarge(f"the file is larger than the limit of {limit} bytes")

    def enter(self, tenant: str, record: FileRecord) -> FileRecord:
        """Make a file exist whose content is there; the record that it has, which somebody else may have written."""
        name = TenantNames(tenant).file_record(record.id)
        if self._store.put_once(name, orjson.dumps(asdict(record), option=orjson.OPT_INDENT_2)):
            return record
        return self.get(tenant, record.id)

    def get(self, tenant: str, file_id: str) -> FileRecord:
        """A file of this tenant.

        Raises:
            NotFound: the tenant has no such file.
        """
        if not is_id(file_id, "file"):
            raise NotFound(f"no file {shorten(file_id)}")
        try:
            data = self._store.get_json(TenantNames(tenant).file_record(file_id))
        except ObjectMissing:
            raise NotFound(f"no file {file_id}") from None
        return FileRecord(**cast("dict[str, Any]", data))

    def content(
        self, tenant: str, file_id: str, *, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """The bytes of a file."""
        name = TenantNames(tenant).file_content(file_id)
        return self._store.stream(name, offset=offset, length=length)

    def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[FileRecord], bool]:
        """One page of files, newest first, and whether more follow."""
        prefix = TenantNames(tenant).files
        found = self._store.list(prefix, recursive=False)
        ids = [info.name.removeprefix(prefix).rstrip("/") for info in found]
        newest = [one for one in sorted(ids, reverse=True) if after is None or one < after]
        records: list[FileRecord] = []
        for file_id in newest:
            if len(records) == limit:
                return records, True
            try:
                records.append(self.get(tenant, file_id))
            except NotFound:
                continue  # still being uploaded, or just deleted
        return records, False

    def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file.

        Raises:
            NotFound: the tenant has no such file.
        """
        self.get(tenant, file_id)
        names = TenantNames(tenant)
        self._store.delete(names.file_record(file_id))
        self._store.delete(names.file_content(file_id))


def moment(at: datetime) -> str:
    """A time in UTC as records have it: RFC 3339 with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
