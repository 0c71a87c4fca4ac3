"""``/v1/files``: uploads of any size, streamed to the object store as they arrive."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, cast

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from api.requests import no_query, page_limit
from api.responses import json_response, page_response, ranged
from api.services import caller, services
from jobs.errors import InvalidRequest, MalformedBody, TextmillError, TooLarge, UnsupportedMedia

blueprint = Blueprint("files", __name__)

_READ_BYTES = 1 << 18

#: The headers of a multipart part may not be larger than this.
_HEADER_BYTES = 1 << 16


@blueprint.post("/files")
def upload() -> Response:
    """Store a file: the raw body, or the part ``file`` of a multipart form."""
    no_query("filename")
    at = services()
    if request.mimetype == "multipart/form-data":
        filename, stream = _multipart_file()
    else:
        if request.content_encoding not in (None, "identity"):
            raise UnsupportedMedia("send a .gz file as it is, without Content-Encoding")
        filename = request.args.get("filename", "")
        stream = cast(BinaryIO, request.stream)
    record = at.files.upload(
        caller().tenant, _checked_name(filename), stream, at.settings.max_upload_bytes
    )
    return json_response(record.public(), 201, {"Location": f"/v1/files/{record.id}"})


def _checked_name(name: str) -> str:
    name = name or "upload.jsonl"
    bad = not name.isprintable() or len(name) > 255 or re.search(r"[\\/]", name)
    if bad or name.strip(". ") == "":
        raise InvalidRequest.of(
            "filename",
            "expected a plain file name: printable, at most 255 characters, no slashes",
            name,
        )
    return name


@blueprint.get("/files")
def listing() -> Response:
    """Files, newest first."""
    no_query("after", "limit")
    after = request.args.get("after")
    records, more = services().files.page(caller().tenant, after=after, limit=page_limit())
    return page_response([record.public() for record in records], more)


@blueprint.get("/files/<file_id>")
def show(file_id: str) -> Response:
    """A file's record."""
    no_query()
    return json_response(services().files.get(caller().tenant, file_id).public())


@blueprint.get("/files/<file_id>/content")
def content(file_id: str) -> Response:
    """A file's bytes."""
    no_query()
    files, tenant = services().files, caller().tenant
    record = files.get(tenant, file_id)
    quoted = re.sub(r"[^\x20-\x7e]|[\"\\]", "_", record.filename)
    return ranged(
        lambda offset, length: files.content(tenant, file_id, offset=offset, length=length),
        size=record.bytes,
        etag=record.sha256,
        content_type="application/octet-stream",
        filename=quoted,
    )


@blueprint.delete("/files/<file_id>")
def delete(file_id: str) -> Response:
    """Delete a file."""
    no_query()
    services().files.delete(caller().tenant, file_id)
    return Response(status=204)


# --- multipart -----------------------------------------------------------------------------------


def _multipart_file() -> tuple[str, BinaryIO]:
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary:
        raise MalformedBody("the multipart body has no boundary")
    # The decoder's limit is for what it holds: at most one piece as read beside unfinished headers.
    limit = _READ_BYTES + _HEADER_BYTES
    events = _events(MultipartDecoder(boundary.encode("latin-1"), limit))
    for event in events:
        if isinstance(event, File):
            if event.name != "file":
                raise InvalidRequest.of(event.name, "unknown file field; expected one named 'file'")
            return event.filename or "", cast(BinaryIO, io.BufferedReader(_PartStream(events)))
        if isinstance(event, Field):
            raise InvalidRequest.of(
                event.name, "unknown form field; expected only a file named 'file'"
            )
    raise InvalidRequest.of("file", "the form holds no file; expected a field named 'file'")


def _events(decoder: MultipartDecoder) -> Iterator[Any]:
    source: IO[bytes] = request.stream
    try:
        while True:
            event = decoder.next_event()
            if isinstance(event, Epilogue):
                return
            if isinstance(event, NeedData):
                data = source.read(_READ_BYTES)
                decoder.receive_data(data or None)
            else:
                yield event
    except TextmillError:
        raise
    except RequestEntityTooLarge:
        raise TooLarge(f"a part's headers are larger than {_HEADER_BYTES} bytes") from None
    except ValueError as error:
        raise MalformedBody(f"the multipart body is broken: {error}") from None


class _PartStream(io.RawIOBase):
    """The data of one multipart part as a readable file, taken from the connection as it is read."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._held = b""
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._held and self._more:
            event = next(self._events, None)
            if not isinstance(event, Data):
                raise MalformedBody("the multipart body ends in the middle of the file")
            self._held, self._more = event.data, event.more_data
        view = memoryview(target)
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        self._held = self._held[count:]
        return count
