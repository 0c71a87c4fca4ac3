"""Uploads that are not complete yet: by parts, in any order and from any process, or to a presigned URL.

All that is known of one lies in the store, so it outlives every process and Redis too. What makes it a file is
:mod:`storage.joining`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import structlog

from jobs.errors import Conflict, NotFound, TooLarge, shorten
from jobs.ids import id_ms, is_id, new_id
from jobs.names import TENANTS, TenantNames, is_tenant
from jobs.uploads import Upload, UploadedPart, file_id_of, part_bytes, part_end
from storage.files import FileTable, moment
from storage.objects import ObjectMissing, ObjectStore

log = structlog.get_logger(__name__)

#: The largest file that one request may put into S3.
DIRECT_BYTES = 5 << 30

#: An upload that got no part for so long is abandoned.
LIFE = timedelta(days=1)

#: How long a presigned URL may be used to upload, in seconds.
DIRECT_SECONDS = 3600

#: An upload's life is renewed by a part once so much of it is over: not by each part, for that would be a write more.
_RENEW_AFTER = timedelta(hours=1)

CONTENT_TYPE = "application/octet-stream"

#: Puts only where nothing is: a URL that was used cannot change the file afterwards.
_CREATE_ONLY = {"If-None-Match": "*"}


class UploadTable:
    """The unfinished uploads of all tenants."""

    def __init__(self, store: ObjectStore, files: FileTable) -> None:
        self._store = store
        self._files = files

    # --- beginning -------------------------------------------------------------------------------

    def begin(
        self, tenant: str, filename: str, *, size: int | None, sha256: str | None, limit: int
    ) -> Upload:
        """Begin an upload by parts.

        Args:
            tenant: whose file it becomes.
            filename: its name, of which the ending tells the format.
            size: of the whole, in bytes, where known.
            sha256: of the whole, in hex, where known.
            limit: most bytes taken.

        Raises:
            TooLarge: the file is over the limit.
        """
        self._files.admit(tenant, size or 0, limit)
        upload_id = new_id("upload")
        content = TenantNames(tenant).file_content(file_id_of(upload_id))
        upload = self._new(
            upload_id,
            filename,
            size,
            sha256,
            part_size=part_bytes(size or limit),
            multipart=self._store.begin_upload(content, CONTENT_TYPE),
        )
        self._save(tenant, upload)
        return upload

    def begin_direct(
        self, tenant: str, filename: str, *, size: int | None, sha256: str | None, limit: int
    ) -> tuple[Upload, str, dict[str, str]]:
        """Begin an upload straight to the store: the upload, the URL for a PUT, and headers to send with it.

        Raises:
            TooLarge: the file is over the limit, or too large for one request.
        """
        self._files.admit(tenant, size or 0, limit)
        if size is not None and size > DIRECT_BYTES:
            raise TooLarge(f"one request takes at most {DIRECT_BYTES} bytes; upload by parts")
        upload = self._new(new_id("file"), filename, size, sha256, part_size=None, multipart=None)
        self._save(tenant, upload)
        # A signed length is enforced by the store. Clients send it by themselves, and browsers let nobody set it.
        signed = _CREATE_ONLY if size is None else {**_CREATE_ONLY, "Content-Length": str(size)}
        content = TenantNames(tenant).file_content(upload.file_id)
        url = self._store.presigned("PUT", content, seconds=DIRECT_SECONDS, headers=signed)
        return upload, url, dict(_CREATE_ONLY)

    # --- parts -----------------------------------------------------------------------------------

    def put_part(
        self,
        tenant: str,
        upload_id: str,
        number: int,
        pieces: Iterator[bytes],
        *,
        length: int,
        limit: int,
    ) -> UploadedPart:
        """Store a part as it comes. One sent again replaces the one before.

        Args:
            tenant: whose upload.
            upload_id: of it.
            number: of the part, from 1.
            pieces: its bytes, in small pieces; what they raise is raised here.
            length: how many bytes these are.
            limit: most bytes of a whole file.

        Raises:
            NotFound: the tenant has no such upload.
            InvalidRequest: number or size do not fit the upload.
            TooLarge: the part is larger than parts of this upload are, or the file gets over the limit.
            Conflict: the parts were joined meanwhile, or the upload was aborted.
        """
        upload = self.get(tenant, upload_id)
        if upload.part_bytes is None or upload.multipart is None:
            raise NotFound(f"no upload {upload_id}")
        self._files.admit(tenant, part_end(upload, number, length), limit)
        names = TenantNames(tenant)
        measured = _Measured(pieces)
        try:
            etag = self._store.stream_part(
                names.file_content(upload.file_id),
                upload.multipart,
                number,
                iter(measured),
                length=length,
            )
        except ObjectMissing:
            raise Conflict("the parts were joined already, or the upload was aborted") from None
        part = UploadedPart(
            number=number,
            bytes=length,
            sha256=measured.digest.hexdigest(),
            etag=etag,
            order=int(datetime.now(UTC).timestamp() * 1e9),
        )
        folder = names.upload_parts(upload_id)
        older = [info.name for info in self._store.list(f"{folder}{number:05d}-")]
        self._store.put(folder + part.name, b"")
        for name in older:
            if name != folder + part.name:
                self._store.delete(name)
        now = datetime.now(UTC)
        if _time(upload.expires_at) - now < LIFE - _RENEW_AFTER:
            self._save(tenant, replace(upload, expires_at=moment(now + LIFE)))
        return part

    def parts(self, tenant: str, upload_id: str) -> list[UploadedPart]:
        """The parts that have arrived, by number."""
        folder = TenantNames(tenant).upload_parts(upload_id)
        found: dict[int, UploadedPart] = {}
        for info in self._store.list(folder):
            part = UploadedPart.parse(info.name.removeprefix(folder))
            if part is not None:
                known = found.get(part.number)
                found[part.number] = max(known or part, part, key=lambda one: one.order)
        return [found[number] for number in sorted(found)]

    # --- what there is ---------------------------------------------------------------------------

    def get(self, tenant: str, upload_id: str) -> Upload:
        """An unfinished upload of this tenant, by parts or to a presigned URL.

        Raises:
            NotFound: the tenant has none of this id.
        """
        if not (is_id(upload_id, "upload") or is_id(upload_id, "file")):
            raise NotFound(f"no upload {shorten(upload_id)}")
        try:
            data = self._store.get_json(TenantNames(tenant).upload_record(upload_id))
        except ObjectMissing:
            raise NotFound(f"no upload {upload_id}") from None
        return Upload(**cast("dict[str, Any]", data))

    def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[Upload], bool]:
        """One page of unfinished uploads by parts, newest first, and whether more follow."""
        ids = sorted((one for one in self._ids(tenant) if is_id(one, "upload")), reverse=True)
        found: list[Upload] = []
        for upload_id in ids:
            if after is not None and upload_id >= after:
                continue
            if len(found) == limit:
                return found, True
            with suppress(NotFound):  # just begun, completed or aborted
                found.append(self.get(tenant, upload_id))
        return found, False

    # --- ends ------------------------------------------------------------------------------------

    def abort(self, tenant: str, upload_id: str) -> None:
        """Drop an upload with all that has arrived.

        Raises:
            NotFound: the tenant has no such upload.
            Conflict: it is a file by now.
        """
        upload = self.get(tenant, upload_id)
        if self._is_file(tenant, upload):
            raise Conflict(f"the upload is complete; delete the file {upload.file_id}")
        self._drop(tenant, upload)
        with suppress(NotFound):  # completed at the same moment, and just lost its content
            self._files.delete(tenant, upload.file_id)

    def forget(self, tenant: str, upload_id: str) -> None:
        """Remove what is only of use until an upload is a file."""
        names = TenantNames(tenant)
        for info in list(self._store.list(names.upload_parts(upload_id))):
            self._store.delete(info.name)
        self._store.delete(names.upload_joined(upload_id))
        self._store.delete(names.upload_record(upload_id))

    def sweep(self) -> int:
        """Drop the abandoned uploads of all tenants; how many there were."""
        now = datetime.now(UTC)
        oldest = int((now - LIFE).timestamp() * 1000)
        dropped = 0
        for folder in list(self._store.list(TENANTS, recursive=False)):
            tenant = folder.name.removeprefix(TENANTS).rstrip("/")
            if not is_tenant(tenant):
                continue
            for upload_id in [one for one in self._ids(tenant) if id_ms(one) < oldest]:
                dropped += self._sweep(tenant, upload_id, now)
        return dropped

    def _sweep(self, tenant: str, upload_id: str, now: datetime) -> bool:
        try:
            upload = self.get(tenant, upload_id)
        except NotFound:
            self.forget(tenant, upload_id)  # what a part left that arrived during an abort
            return False
        if _time(upload.expires_at) > now:
            return False
        log.info("upload abandoned", tenant=tenant, upload=upload_id)
        if self._is_file(tenant, upload):
            self.forget(tenant, upload_id)
        else:
            self._drop(tenant, upload)
        return True

    def _drop(self, tenant: str, upload: Upload) -> None:
        # The record goes last: without it nobody would know the store's own upload any more.
        content = TenantNames(tenant).file_content(upload.file_id)
        if upload.multipart is not None:
            with suppress(ObjectMissing):
                self._store.abort_upload(content, upload.multipart)
        self._store.delete(content)
        self.forget(tenant, upload.id)

    def _is_file(self, tenant: str, upload: Upload) -> bool:
        return self._store.exists(TenantNames(tenant).file_record(upload.file_id))

    def _ids(self, tenant: str) -> Iterator[str]:
        prefix = TenantNames(tenant).uploads
        for info in self._store.list(prefix, recursive=False):
            upload_id = info.name.removeprefix(prefix).rstrip("/")
            if is_id(upload_id, "upload") or is_id(upload_id, "file"):
                yield upload_id

    def _save(self, tenant: str, upload: Upload) -> None:
        self._store.put_json(TenantNames(tenant).upload_record(upload.id), asdict(upload))

    @staticmethod
    def _new(
        upload_id: str,
        filename: str,
        size: int | None,
        sha256: str | None,
        *,
        part_size: int | None,
        multipart: str | None,
    ) -> Upload:
        now = datetime.now(UTC)
        return Upload(
            id=upload_id,
            filename=filename,
            bytes=size,
            sha256=sha256,
            part_bytes=part_size,
            multipart=multipart,
            created_at=moment(now),
            expires_at=moment(now + LIFE),
        )


class _Measured:
    """Hashes pieces while they pass."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.digest.update(piece)
            yield piece


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
