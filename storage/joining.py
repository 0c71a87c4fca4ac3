"""What makes a file of an upload: its parts are joined, the whole is hashed, and the record is written last.

Every step may be taken twice, also by two at once, and gone on with after a death at any moment.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from jobs.errors import Conflict, InvalidRequest, NotFound, TooLarge, Unavailable
from jobs.names import TenantNames
from jobs.uploads import Upload, UploadedPart, file_id_of
from storage.files import FileRecord, FileTable, moment
from storage.objects import ObjectChanged, ObjectInfo, ObjectMissing, ObjectStore
from storage.uploads import UploadTable


@dataclass(frozen=True, kw_only=True)
class _Joined:
    """The whole content, as written once: whoever completes the upload writes the same record of the file."""

    bytes: int
    sha256: str
    created_at: str


class Joining:
    """Completes uploads.

    Args:
        store: where they lie.
        files: what they become.
        uploads: where they are kept until then.
        limit: most bytes of a file.
    """

    def __init__(
        self, store: ObjectStore, files: FileTable, uploads: UploadTable, limit: int
    ) -> None:
        self._store = store
        self._files = files
        self._uploads = uploads
        self._limit = limit

    def complete(self, tenant: str, upload_id: str, sha256: str | None = None) -> FileRecord:
        """Make a file of an upload; of one that is a file already, the same file.

        The content is read once from the store, to hash it: some seconds for each GB.

        Args:
            tenant: whose upload.
            upload_id: of it; of one to a presigned URL the file's.
            sha256: what the whole must have, in hex.

        Raises:
            NotFound: the tenant has no such upload.
            Conflict: parts are missing or too short, or it is not what it was begun for.
            InvalidRequest: the digest is another, or the file is empty.
            TooLarge: it is over the limit.
        """
        try:
            record = self._known(tenant, upload_id) or self._made(tenant, upload_id, sha256)
        except (Conflict, NotFound):
            # Somebody else may have completed it at the same moment, and removed what it was made of.
            known = self._known(tenant, upload_id)
            if known is None:
                raise
            record = known
        _check(sha256, record.sha256)
        with suppress(Unavailable):  # the sweeper does it too
            self._uploads.forget(tenant, upload_id)
        return record

    def _known(self, tenant: str, upload_id: str) -> FileRecord | None:
        try:
            return self._files.get(tenant, file_id_of(upload_id))
        except NotFound:
            return None

    def _made(self, tenant: str, upload_id: str, sha256: str | None) -> FileRecord:
        upload = self._uploads.get(tenant, upload_id)
        joined = self._joined(tenant, upload) or self._join(tenant, upload)
        _check(upload.sha256, joined.sha256)
        _check(sha256, joined.sha256)
        record = FileRecord(id=upload.file_id, filename=upload.filename, **asdict(joined))
        return self._enter(tenant, record)

    def _enter(self, tenant: str, record: FileRecord) -> FileRecord:
        entered = self._files.enter(tenant, record)
        # An abort at the same moment looks for the record after it removed the content: one of both sees the other.
        if not self._store.exists(TenantNames(tenant).file_content(record.id)):
            self._store.delete(TenantNames(tenant).file_record(record.id))
            raise NotFound("the upload was aborted meanwhile")
        return entered

    def _joined(self, tenant: str, upload: Upload) -> _Joined | None:
        name = TenantNames(tenant).upload_joined(upload.id)
        try:
            return _Joined(**cast("dict[str, Any]", self._store.get_json(name)))
        except ObjectMissing:
            return None

    def _join(self, tenant: str, upload: Upload) -> _Joined:
        if upload.multipart is None:
            content = self._direct(tenant, upload)
        else:
            content = self._whole(tenant, upload, upload.multipart)
        digest = hashlib.sha256()
        try:
            for piece in self._store.stream(content.name, etag=content.etag):
                digest.update(piece)
        except (ObjectMissing, ObjectChanged):
            raise Conflict("the upload was aborted or changed meanwhile") from None
        mine = _Joined(
            bytes=content.size, sha256=digest.hexdigest(), created_at=moment(datetime.now(UTC))
        )
        name = TenantNames(tenant).upload_joined(upload.id)
        if self._store.put_once(name, orjson.dumps(asdict(mine))):
            return mine
        return self._joined(tenant, upload) or mine

    def _whole(self, tenant: str, upload: Upload, multipart: str) -> ObjectInfo:
        """The parts as one object; also where that was done before."""
        parts = self._uploads.parts(tenant, upload.id)
        size = _checked_size(upload, parts)
        self._files.admit(tenant, size, self._limit)
        name = TenantNames(tenant).file_content(upload.file_id)
        with suppress(ObjectMissing):  # joined before, as the object then shows
            self._store.complete_upload(name, multipart, [part.etag for part in parts])
        try:
            found = self._store.stat(name)
        except ObjectMissing:
            raise Conflict(
                "parts were replaced meanwhile, or the upload was aborted; look which are there"
            ) from None
        if found.size != size:
            raise Conflict(f"the joined parts have {found.size} bytes; expected {size}")
        return found

    def _direct(self, tenant: str, upload: Upload) -> ObjectInfo:
        """What was put to the presigned URL. Removed if it cannot be a file, so that the URL can be used again."""
        name = TenantNames(tenant).file_content(upload.file_id)
        try:
            found = self._store.stat(name)
        except ObjectMissing:
            raise Conflict("nothing was put to the upload's URL yet") from None
        try:
            _check_size(upload, found.size)
            self._files.admit(tenant, found.size, self._limit)
        except (Conflict, InvalidRequest, TooLarge):
            self._store.delete(name)
            raise
        return found


def _check_size(upload: Upload, size: int) -> None:
    if size == 0:
        raise InvalidRequest.of("file", "the file is empty; expected at least one byte")
    if upload.bytes not in (None, size):
        raise Conflict(f"{size} bytes arrived; the upload was begun for {upload.bytes}")


def _checked_size(upload: Upload, parts: list[UploadedPart]) -> int:
    """Size of all parts together, in bytes.

    Raises:
        Conflict: some are missing, or one but the last is too short.
    """
    if not parts:
        raise Conflict("no part was sent yet; an empty file is not taken")
    present = {part.number for part in parts}
    last = max(present)
    if upload.bytes is not None and upload.part_bytes is not None:
        last = -(-upload.bytes // upload.part_bytes)
    missing = [number for number in range(1, last + 1) if number not in present]
    if missing:
        named = ", ".join(str(number) for number in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise Conflict(f"these parts were not sent: {named}{more}")
    for part in parts[:-1]:
        if part.bytes != upload.part_bytes:
            raise Conflict(
                f"part {part.number} has {part.bytes} bytes; "
                f"all parts but the last have {upload.part_bytes}"
            )
    return sum(part.bytes for part in parts)


def _check(expected: str | None, found: str) -> None:
    if expected is not None and expected != found:
        raise InvalidRequest.of(
            "sha256", f"another than that of what arrived, which is {found}", expected
        )
