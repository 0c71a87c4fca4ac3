"""The object store: plain S3 through minio-py, with the few operations that Textmill needs.

Only calls that every S3 server answers are used; nothing here is special to MinIO. Faults of the network or
the server become :class:`jobs.errors.Unavailable`, so callers need to know one error, not five.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Self, cast

import orjson
import urllib3
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource
from minio.error import InvalidResponseError, MinioException, S3Error

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.settings import Settings

#: Size of a piece of a multipart upload; S3 wants at least 5 MiB.
PART_BYTES = 8 << 20

#: Size of a piece handed on while streaming.
CHUNK_BYTES = 1 << 20

#: Seconds within which a connection must stand.
_CONNECT_SECONDS = 3.0

#: Attempts to go on with a download that broke off, each from where it stopped.
STREAM_ATTEMPTS = 4

_MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchObject", "NoSuchUpload", "ResourceNotFound"}
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict"}


class ObjectMissing(LookupError):
    """No object has this name."""


class ObjectChanged(RuntimeError):
    """The object is no longer the one whose ETag was asked for."""


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What the store knows of an object without reading it."""

    name: str
    size: int  #: bytes
    etag: str
    modified: datetime | None
    metadata: Mapping[str, str]  #: lower-case keys without the ``x-amz-meta-`` prefix


class _Client(Minio):
    """minio-py with the conditional put that its public methods do not offer."""

    def put_if_absent(self, bucket: str, name: str, data: bytes, content_type: str) -> None:
        self._put_object(
            bucket, name, data, headers={"Content-Type": content_type, "If-None-Match": "*"}
        )


class _Retry(urllib3.Retry):
    """Tries again at once what broke off or was refused for a moment, but not what hung: that would hang again."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: urllib3.connectionpool.ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn what minio-py and urllib3 raise into the three errors that callers know."""
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise ObjectMissing(name) from error
        if error.code in _CHANGED:
            raise ObjectChanged(name) from error
        raise Unavailable(f"the object store answered {error.code} for {name}") from error
    except (urllib3.exceptions.HTTPError, InvalidResponseError, OSError) as error:
        raise Unavailable(f"the object store cannot be reached ({type(error).__name__})") from error
    except MinioException as error:
        raise Unavailable(f"the object store failed for {name}: {error}") from error


class ObjectStore:
    """One bucket of an S3 store."""

    def __init__(self, client: _Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    @classmethod
    def connect(cls, settings: Settings) -> ObjectStore:
        """The store that the settings name. Opens no connection yet."""
        host, secure = settings.s3_host
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=settings.s3_silence_seconds),
            maxsize=32,
            retries=_Retry(
                total=3,
                connect=2,
                read=2,
                backoff_factor=0.2,
                status_forcelist=[500, 502, 503, 504],
            ),
        )
        client = _Client(
            endpoint=host,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            secure=secure,
            region=settings.s3_region,
            http_client=pool,
        )
        return cls(client, settings.s3_bucket)

    def in_bucket(self, bucket: str) -> ObjectStore:
        """The same server and credentials, another bucket."""
        return self if bucket == self.bucket else ObjectStore(self._client, bucket)

    # --- writing ---------------------------------------------------------------------------------

    def put(self, name: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object whole, replacing one of the same name."""
        with _translated(name):
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
            with _translated(name):
                self._client.put_if_absent(self.bucket, name, data, content_type)
        except ObjectChanged:
            return False
        return True

    def put_json(self, name: str, value: object) -> None:
        """Write a small JSON object."""
        self.put(name, orjson.dumps(value, option=orjson.OPT_INDENT_2), "application/json")

    def put_stream(
        self, name: str, data: BinaryIO, content_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        """Write a stream of unknown length in bounded memory (three parts of 8 MiB)."""
        with _translated(name):
            written = self._client.put_object(
                bucket_name=self.bucket,
                object_name=name,
                data=data,
                length=-1,
                part_size=PART_BYTES,
                num_parallel_uploads=1,
                content_type=content_type,
            )
        return self.stat(written.object_name or name)

    def copy(self, source: str, target: str) -> None:
        """Copy inside the bucket, on the server."""
        with _translated(source):
            self._client.copy_object(
                bucket_name=self.bucket,
                object_name=target,
                source=CopySource(bucket_name=self.bucket, object_name=source),
            )

    def compose(self, sources: list[str], target: str) -> None:
        """Join objects on the server. All but the last must be at least 5 MiB, and at most 10,000."""
        with _translated(target):
            self._client.compose_object(
                bucket_name=self.bucket,
                object_name=target,
                sources=[
                    ComposeSource(bucket_name=self.bucket, object_name=name) for name in sources
                ],
            )

    def delete(self, name: str) -> None:
        """Delete an object; none of this name is no error."""
        with _translated(name):
            self._client.remove_object(bucket_name=self.bucket, object_name=name)

    # --- reading ---------------------------------------------------------------------------------

    def stat(self, name: str) -> ObjectInfo:
        """What is known of an object.

        Raises:
            ObjectMissing: no object has this name.
        """
        with _translated(name):
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
                with _translated(name):
                    failures += 1
                    answered = isinstance(error, S3Error) and error.code in _MISSING | _CHANGED
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
        with _translated(prefix):
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

    # --- the bucket itself -------------------------------------------------------------------------

    def ensure_bucket(self) -> None:
        """Make the bucket where it does not exist."""
        with _translated(self.bucket):
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
