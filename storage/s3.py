"""minio-py as Textmill uses it: its client, its timeouts, and its errors as the few that callers know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self, cast

import urllib3
from minio import Minio
from minio.datatypes import Part
from minio.error import InvalidResponseError, MinioException, S3Error

from jobs.errors import Unavailable
from jobs.settings import Settings

#: Seconds within which a connection must stand.
_CONNECT_SECONDS = 3.0

#: S3's codes for what is not there, and for what is not as it was expected.
MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchObject", "NoSuchUpload", "ResourceNotFound"}
CHANGED = {"PreconditionFailed", "ConditionalRequestConflict"}

#: S3 knows no type of a part and ignores one; SeaweedFS compresses parts unless their type says that it is useless,
#: which took most of the time of an upload.
_AS_IT_IS: dict[str, str | list[str] | tuple[str]] = {"Content-Type": "application/zstd"}


class ObjectMissing(LookupError):
    """No object has this name."""


class ObjectChanged(RuntimeError):
    """The object is no longer the one whose ETag was asked for."""


class Client(Minio):
    """What minio-py's public methods do not offer too: conditional puts, uploads in parts that outlive a process."""

    def put_if_absent(self, bucket: str, name: str, data: bytes, content_type: str) -> None:
        self._put_object(
            bucket, name, data, headers={"Content-Type": content_type, "If-None-Match": "*"}
        )

    def begin_upload(self, bucket: str, name: str, content_type: str) -> str:
        return self._create_multipart_upload(bucket, name, {"Content-Type": content_type})

    def upload_part(
        self, bucket: str, name: str, upload: str, number: int, data: bytes | bytearray
    ) -> str:
        # It is declared for bytes alone, but only hashes and sends them: a copy of each part would be for nothing.
        return self._upload_part(bucket, name, cast(bytes, data), _AS_IT_IS, upload, number)

    def complete_upload(self, bucket: str, name: str, upload: str, etags: Sequence[str]) -> None:
        parts = [Part(number, etag) for number, etag in enumerate(etags, 1)]
        self._complete_multipart_upload(bucket, name, upload, parts)

    def abort_upload(self, bucket: str, name: str, upload: str) -> None:
        self._abort_multipart_upload(bucket, name, upload)


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


def connect(settings: Settings) -> Client:
    """A client of the store that the settings name. Opens no connection yet."""
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
    return Client(
        endpoint=host,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=secure,
        region=settings.s3_region,
        http_client=pool,
    )


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn what minio-py and urllib3 raise into the three errors that callers know."""
    try:
        yield
    except S3Error as error:
        if error.code in MISSING:
            raise ObjectMissing(name) from error
        if error.code in CHANGED:
            raise ObjectChanged(name) from error
        raise Unavailable(f"the object store answered {error.code} for {name}") from error
    except (urllib3.exceptions.HTTPError, InvalidResponseError, OSError) as error:
        raise Unavailable(f"the object store cannot be reached ({type(error).__name__})") from error
    except MinioException as error:
        raise Unavailable(f"the object store failed for {name}: {error}") from error
