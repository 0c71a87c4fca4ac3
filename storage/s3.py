"""minio-py as Textmill uses it: its client, its timeouts, and its errors as the few that callers know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self, cast

import urllib3
from minio import Minio, signer
from minio import time as minio_time
from minio.datatypes import Part
from minio.error import InvalidResponseError, MinioException, S3Error

from jobs.errors import Unavailable
from jobs.settings import Settings

#: Seconds within which a connection must stand.
_CONNECT_SECONDS = 3.0

#: How long a part may be on its way before its first byte reaches the store.
_PART_SECONDS = 600

#: S3's codes for what is not there, and for what is not as it was expected.
MISSING = {
    "InvalidPart",
    "NoSuchBucket",
    "NoSuchKey",
    "NoSuchObject",
    "NoSuchUpload",
    "ResourceNotFound",
}
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

    def put_if_match(
        self, bucket: str, name: str, data: bytes, content_type: str, etag: str
    ) -> None:
        self._put_object(
            bucket, name, data, headers={"Content-Type": content_type, "If-Match": f'"{etag}"'}
        )

    def begin_upload(self, bucket: str, name: str, content_type: str) -> str:
        return self._create_multipart_upload(bucket, name, {"Content-Type": content_type})

    def upload_part(
        self, bucket: str, name: str, upload: str, number: int, data: bytes | bytearray
    ) -> str:
        # It is declared for bytes alone, but only hashes and sends them: a copy of each part would be for nothing.
        return self._upload_part(bucket, name, cast(bytes, data), _AS_IT_IS, upload, number)

    def stream_part(
        self,
        bucket: str,
        name: str,
        upload: str,
        number: int,
        pieces: Iterator[bytes],
        *,
        length: int,
    ) -> str:
        # minio-py wants a part whole in memory, to hash it before it is sent. A presigned request need not be hashed.
        # What was read from the pieces cannot be had again: there is no second try.
        query = {"partNumber": str(number), "uploadId": upload}
        url = self.presign("PUT", bucket, name, seconds=_PART_SECONDS, query=query)
        silence = self._http.connection_pool_kw["timeout"].read_timeout
        response = self._http.request(
            "PUT",
            url,
            body=pieces,
            headers={"Content-Length": str(length), "Content-Type": str(_AS_IT_IS["Content-Type"])},
            retries=False,
            redirect=False,
            # urllib3 takes the time to connect as the longest that sending may block, too.
            timeout=urllib3.Timeout(connect=silence, read=silence),
        )
        etag = response.headers.get("ETag", "").strip('"')
        if response.status == 404:
            raise ObjectMissing(name)
        if response.status != 200 or not etag:
            raise Unavailable(f"the object store answered {response.status} to a part of {name}")
        return etag

    def presign(
        self,
        method: str,
        bucket: str,
        name: str,
        *,
        seconds: int,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """A URL that allows one kind of request for a while, without sending anything.

        As AWS Signature Version 4 in the query, of an unsigned payload. minio-py's own signs no headers; with these, a
        request that lacks one or has another value is refused by the store.
        """
        credentials = self._provider.retrieve() if self._provider else None
        if credentials is None:
            raise Unavailable("the object store is used without credentials: nothing can be signed")
        region = self._get_region(bucket)
        moment = minio_time.utcnow()
        scope = signer._get_scope(moment, region, "s3")  # noqa: SLF001 - only whole requests are public
        names = {"host": self._base_url.host}
        names |= {key.lower(): value for key, value in (headers or {}).items()}
        signed = {
            **(query or {}),
            "X-Amz-Algorithm": signer.SIGN_V4_ALGORITHM,
            "X-Amz-Credential": f"{credentials.access_key}/{scope}",
            "X-Amz-Date": minio_time.to_amz_date(moment),
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": ";".join(sorted(names)),
        }
        if credentials.session_token:
            signed["X-Amz-Security-Token"] = credentials.session_token
        url = self._base_url.build(
            method=method,
            region=region,
            bucket_name=bucket,
            object_name=name,
            query_params=dict(signed),
        )
        digest, _ = signer._get_canonical_request_hash(method, url, names, "UNSIGNED-PAYLOAD")  # noqa: SLF001
        key = signer._get_signing_key(credentials.secret_key, moment, region, "s3")  # noqa: SLF001
        text = signer._get_string_to_sign(moment, scope, digest)  # noqa: SLF001
        return f"{url.geturl()}&X-Amz-Signature={signer._get_signature(key, text)}"  # noqa: SLF001

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


def connect(settings: Settings, *, public: bool = False) -> Client:
    """A client of the store that the settings name, or for presigning of what they call it in public.

    Opens no connection yet.
    """
    host, secure = settings.s3_public_host if public else settings.s3_host
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=settings.s3_silence_seconds),
        maxsize=128,
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
