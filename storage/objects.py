"""The object store: plain S3 through minio-py, with the few operations that Textmill needs.

Only calls that every S3 server answers are used; nothing here is special to MinIO. Faults of the network or
the server become :class:`jobs.errors.Unavailable`, so callers need to know one error, not five.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, cast

import orjson
import urllib3
from minio.commonconfig import CopySource
from minio.error import MinioException, S3Error

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.settings import Settings
from storage.s3 import CHANGED, MISSING, Client, ObjectChanged, ObjectMissing, connect, translated

__all__ = ["ObjectChanged", "ObjectInfo", "ObjectMissing", "ObjectStore"]

#: Size of a piece of a multipart upload; S3 wants at least 5 MiB, and takes 10,000 of them.
PART_BYTES = 6 << 20

#: Bytes read at once from a stream that is to be uploaded.
_READ_BYTES = 64 << 10

#: Size of a piece handed on while streaming.
CHUNK_BYTES = 1 << 20

#: Attempts to go on with a download that broke off, each from where it stopped.
STREAM_ATTEMPTS = 4


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What the store knows of an object without reading it."""

    name: str
    size: int  #: bytes
    etag: str
    modified: datetime | None
    metadata: Mapping[str, str]  #: lower-case keys without the ``x-amz-meta-`` prefix


class ObjectStore:
    """One bucket of an S3 store."""

    def __init__(self, client: Client, bucket: str, *, public: Client | None = None) -> None:
        self._client = client
        self._public = public or client  #: names the store as clients reach it
        self.bucket = bucket

    @classmethod
    def connect(cls, settings: Settings) -> ObjectStore:
        """The store that the settings name. Opens no connection yet."""
        public = connect(settings, public=True) if settings.s3_public_endpoint else None
        return cls(connect(settings), settings.s3_bucket, public=public)

    def in_bucket(self, bucket: str) -> ObjectStore:
        """The same server and credentials, another bucket."""
        if bucket == self.bucket:
            return self
        return ObjectStore(self._client, bucket, public=self._public)

    # --- writing ---------------------------------------------------------------------------------

    def put(self, name: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object whole, replacing one of the same name."""
        with translated(name):
            self._client.put_object(
                bucket_name=self.bucket,
                object_name=name,
                data=io.BytesIO(data),
                length=len(data),
                content_type=content_type,
                part_size=0 if len(data) < PART_BYTES else PART_BYTES,
            )

    def put_once(self, name: str, data: bytes, content_type: str = "application/json") -> bool:
        """Write an object only if none has this name; False when one has.

        A put whose answer was lost is sent again and then finds itself: False does not mean that somebody else
        wrote the object. Callers compare contents where that matters.
        """
        try:
            with translated(name):
                self._client.put_if_absent(self.bucket, name, data, content_type)
        except ObjectChanged:
            return False
        return True

    def replace(
        self, name: str, data: bytes, etag: str, content_type: str = "application/json"
    ) -> None:
        """Write an object over the version of it that has this ETag.

        As with :meth:`put_once`, a put whose answer was lost finds itself. Servers that know no conditions replace
        whatever is there.

        Raises:
            ObjectChanged: it is another by now, or gone.
        """
        try:
            with translated(name):
                self._client.put_if_match(self.bucket, name, data, content_type, etag)
        except ObjectMissing as error:
            raise ObjectChanged(name) from error

    def put_json(self, name: str, value: object) -> None:
        """Write a small JSON object."""
        self.put(name, orjson.dumps(value, option=orjson.OPT_INDENT_2), "application/json")

    def put_stream(
        self, name: str, data: BinaryIO, content_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        """Write a stream of unknown length, holding one part of it at a time. A broken one leaves nothing."""
        piece = bytearray(PART_BYTES)
        if not _fill(piece, data):
            self.put(name, bytes(piece), content_type)
            return self.stat(name)
        upload = self.begin_upload(name, content_type)
        etags: list[str] = []
        try:
            more = True
            while piece:
                etags.append(self.upload_part(name, upload, len(etags) + 1, piece))
                if not more:
                    break
                more = _fill(piece, data)
            self.complete_upload(name, upload, etags)
        except BaseException:
            with suppress(Unavailable, ObjectMissing):
                self.abort_upload(name, upload)
            raise
        return self.stat(name)

    def fill_upload(self, name: str, upload: str, data: BinaryIO) -> tuple[list[str], int]:
        """Write a stream of unknown length into the parts of an upload; their ETags, and how many bytes there were.

        Holds one part at a time. Of an empty stream there are none, and such an upload cannot be completed.

        Raises:
            ObjectMissing: there is no such upload, or it was completed.
        """
        piece = bytearray(PART_BYTES)
        etags: list[str] = []
        size = 0
        more = True
        while more:
            more = _fill(piece, data)
            if piece:
                etags.append(self.upload_part(name, upload, len(etags) + 1, piece))
                size += len(piece)
        return etags, size

    def begin_upload(self, name: str, content_type: str) -> str:
        """Begin to write an object in parts; the id of the upload."""
        with translated(name):
            return self._client.begin_upload(self.bucket, name, content_type)

    def upload_part(self, name: str, upload: str, number: int, data: bytes | bytearray) -> str:
        """Write part ``number``, from 1; its ETag. All but the last have at least 5 MiB.

        Raises:
            ObjectMissing: there is no such upload, or it was completed.
        """
        with translated(name):
            return self._client.upload_part(self.bucket, name, upload, number, data)

    def stream_part(
        self, name: str, upload: str, number: int, pieces: Iterator[bytes], *, length: int
    ) -> str:
        """Write part ``number`` as its pieces come, which have ``length`` bytes in all; its ETag.

        Nothing of it is kept in memory, so there is no second try. What the iterator raises is raised here.

        Raises:
            ObjectMissing: there is no such upload, or it was completed.
        """
        with translated(name):
            return self._client.stream_part(
                self.bucket, name, upload, number, pieces, length=length
            )

    def complete_upload(self, name: str, upload: str, etags: Sequence[str]) -> None:
        """Make an object of all parts of an upload, whose ETags come in order.

        Raises:
            ObjectMissing: there is no such upload, it was completed, or a part is another by now.
        """
        with translated(name):
            self._client.complete_upload(self.bucket, name, upload, etags)

    def abort_upload(self, name: str, upload: str) -> None:
        """Drop an upload and its parts."""
        with translated(name):
            self._client.abort_upload(self.bucket, name, upload)

    def copy(self, source: str, target: str) -> None:
        """Copy inside the bucket, on the server."""
        with translated(source):
            self._client.copy_object(
                bucket_name=self.bucket,
                object_name=target,
                source=CopySource(bucket_name=self.bucket, object_name=source),
            )

    def delete(self, name: str) -> None:
        """Delete an object; none of this name is no error."""
        with translated(name):
            self._client.remove_object(bucket_name=self.bucket, object_name=name)

    # --- reading ---------------------------------------------------------------------------------

    def stat(self, name: str) -> ObjectInfo:
        """What is known of an object.

        Raises:
            ObjectMissing: no object has this name.
        """
        with translated(name):
            found = self._client.stat_object(bucket_name=self.bucket, object_name=name)
        prefix = "x-amz-meta-"
        metadata = {
            key.lower().removeprefix(prefix): str(value)
            for key, value in (found.metadata or {}).items()
            if key.lower().startswith(prefix)
        }
        return ObjectInfo(
            name=name,
            size=found.size or 0,
            etag=(found.etag or "").strip('"'),
            modified=found.last_modified,
            metadata=metadata,
        )

    def exists(self, name: str) -> bool:
        """Whether an object has this name."""
        try:
            self.stat(name)
        except ObjectMissing:
            return False
        return True

    def get(self, name: str) -> bytes:
        """A small object, whole.

        Raises:
            ObjectMissing: no object has this name.
        """
        return b"".join(self.stream(name))

    def get_version(self, name: str) -> tuple[bytes, str]:
        """A small object, whole, and its ETag.

        Raises:
            ObjectMissing: no object has this name.
        """
        while True:
            etag = self.stat(name).etag
            try:
                return b"".join(self.stream(name, etag=etag)), etag
            except ObjectChanged:
                continue

    def get_json(self, name: str) -> object:
        """A small JSON object, parsed."""
        return cast(object, orjson.loads(self.get(name)))

    def stream(
        self,
        name: str,
        *,
        offset: int = 0,
        length: int | None = None,
        etag: str | None = None,
    ) -> Iterator[bytes]:
        """The bytes of an object in pieces of at most 1 MiB; goes on by itself where a connection broke.

        All bytes are of one version of the object, also where it went on.

        Args:
            name: the object.
            offset: first byte wanted.
            length: how many bytes; to the end when None.
            etag: read only this version of the object.

        Raises:
            ObjectMissing: no object has this name.
            ObjectChanged: the object has another ETag, or was replaced meanwhile.
        """
        if length == 0:
            return
        done, failures = 0, 0
        headers: dict[str, str | list[str] | tuple[str]] = {}
        if etag:
            headers["If-Match"] = f'"{etag}"'
        while True:
            left = 0 if length is None else length - done
            try:
                response = self._client.get_object(
                    bucket_name=self.bucket,
                    object_name=name,
                    offset=offset + done,
                    length=left,
                    request_headers=headers,
                )
                try:
                    headers["If-Match"] = response.headers["ETag"]
                    for chunk in response.stream(CHUNK_BYTES):
                        done += len(chunk)
                        yield chunk
                finally:
                    response.close()
                    response.release_conn()
            except (urllib3.exceptions.HTTPError, OSError, S3Error, MinioException) as error:
                with translated(name):
                    failures += 1
                    answered = isinstance(error, S3Error) and error.code in MISSING | CHANGED
                    hangs = isinstance(error, urllib3.exceptions.ReadTimeoutError)
                    if answered or hangs or failures >= STREAM_ATTEMPTS:
                        raise
            else:
                return

    def list(
        self, prefix: str, *, recursive: bool = True, start_after: str | None = None
    ) -> Iterator[ObjectInfo]:
        """Objects whose names start so, in the order of their names.

        Unless ``recursive``, names end at the next ``/``: such folders come once each, among the objects or after them.
        """
        with translated(prefix):
            for found in self._client.list_objects(
                bucket_name=self.bucket,
                prefix=prefix,
                recursive=recursive,
                start_after=start_after,
            ):
                yield ObjectInfo(
                    name=found.object_name or "",
                    size=found.size or 0,
                    etag=(found.etag or "").strip('"'),
                    modified=found.last_modified,
                    metadata={},
                )

    # --- for others to read and write ----------------------------------------------------------------

    def presigned(
        self,
        method: str,
        name: str,
        *,
        seconds: int,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """A URL with which anybody may do this one thing for so long. It is a secret until then.

        Args:
            method: ``GET``, ``HEAD`` or ``PUT``.
            name: the object.
            seconds: until it is worth nothing.
            query: further parameters, such as ``response-content-disposition``.
            headers: that must be sent with it, with these very values.
        """
        return self._public.presign(
            method, self.bucket, name, seconds=seconds, query=query, headers=headers
        )

    # --- the bucket itself -------------------------------------------------------------------------

    def ensure_bucket(self) -> None:
        """Make the bucket where it does not exist."""
        with translated(self.bucket):
            if not self._client.bucket_exists(bucket_name=self.bucket):
                try:
                    self._client.make_bucket(bucket_name=self.bucket)
                except S3Error as error:
                    if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                        raise

    def probe(self) -> None:
        """Check that the store takes a write. A list would not do: a server can list before it can write.

        Raises:
            Unavailable: it does not.
        """
        name = f"system/probe/{new_token()}"
        self.put(name, b"probe")
        self.delete(name)


def _fill(piece: bytearray, data: BinaryIO) -> bool:
    """Read the next part of a stream into a buffer of a part's size; False at the end, when the buffer is cut to what
    there was."""
    filled = 0
    while filled < PART_BYTES:
        chunk = data.read(min(PART_BYTES - filled, _READ_BYTES))
        if not chunk:
            del piece[filled:]
            return False
        piece[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return True
