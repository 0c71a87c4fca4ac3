"""``/v1/files``: uploads of any size, streamed to the object store as they arrive."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import BinaryIO, cast

from flask import Blueprint, Response, request
from pydantic import Field

from api.bodies import json_body
from api.conditional import tagged
from api.multipart import multipart_file
from api.operations import IF_NONE_MATCH, IF_RANGE, NOT_MODIFIED, RANGE, TAGGED, Answer, operation
from api.presigning import REDIRECTED, presigned_download
from api.requests import Flag, PageQuery, Query
from api.responses import json_response, paced, page_response, ranged
from api.schemas.files import FilePage, FileView
from api.schemas.uploads import CompleteUpload, DirectUpload, PresignedView
from api.services import caller, services
from jobs.errors import InvalidRequest, NotFound, UnsupportedMedia
from jobs.ids import is_id
from jobs.names import TenantNames
from jobs.scopes import Scope
from jobs.uploads import checked_name
from storage.files import moment
from storage.quotas import Arriving, count_stored, require_stored_room
from storage.uploads import DIRECT_SECONDS

blueprint = Blueprint("files", __name__)


_BYTES = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {"file": {**_BYTES, "description": "The file, with its name."}},
    "required": ["file"],
    "additionalProperties": False,
}
#: Only with ``presign=true``; otherwise JSON is a file like any other.
_DIRECT = {**DirectUpload.model_json_schema(), "title": "DirectUpload"}


class UploadQuery(Query):
    """What an upload is called."""

    filename: str = Field(
        default="",
        max_length=255,
        description="Name of a raw body, whose ending tells the format; `upload.jsonl` when empty.",
    )
    presign: Flag = Field(
        default=False,
        description="Send no file but JSON that tells of it, and get a URL of the object store to put it to.",
    )


@blueprint.post("/files")
@operation(
    name="upload_file",
    tag="files",
    scope=Scope.FILES_WRITE,
    query=UploadQuery,
    media={
        "application/octet-stream": _BYTES,
        "multipart/form-data": _FORM,
        "application/json": _DIRECT,
    },
    answers={
        200: Answer(description="With `presign=true`: where to put the file.", model=PresignedView),
        201: Answer(
            description="The file.", model=FileView, headers={"Location": "Where the file is."}
        ),
    },
)
def upload(query: UploadQuery) -> Response:
    """Store a file: the raw body, or the part `file` of a multipart form.

    Of any size; it is written to the object store as it arrives. With `presign=true` the body is JSON and nothing is
    stored: the answer tells where to put the file, at most 5 GiB, before it is completed.
    """
    at = services()
    if query.presign:
        return _presigned(query)
    if request.mimetype == "multipart/form-data":
        filename, stream = multipart_file()
    else:
        if request.content_encoding not in (None, "identity"):
            raise UnsupportedMedia("send a .gz file as it is, without Content-Encoding")
        filename = query.filename
        stream = cast(BinaryIO, request.stream)
    tenant, name = caller().tenant, checked_name(filename)
    with Arriving(at.ledger, tenant) as room:
        room.expect(request.content_length or 0)
        record = at.files.upload(tenant, name, room.watch(stream), at.settings.max_upload_bytes)
        room.keep(record.bytes)
    return json_response(record.public(), 201, {"Location": f"/v1/files/{record.id}"})


def _presigned(query: UploadQuery) -> Response:
    at = services()
    if query.filename:
        raise InvalidRequest.of("filename", "stands in the body where presign=true is asked for")
    asked = json_body(DirectUpload, at.settings.max_request_bytes)
    tenant = caller().tenant
    require_stored_room(at.ledger, tenant, asked.bytes)
    upload, url, headers = at.uploads.begin_direct(
        tenant,
        checked_name(asked.filename),
        size=asked.bytes,
        sha256=asked.sha256,
        limit=at.settings.max_upload_bytes,
    )
    until = datetime.fromisoformat(upload.created_at) + timedelta(seconds=DIRECT_SECONDS)
    put = {"method": "PUT", "url": url, "headers": headers, "expires_at": moment(until)}
    links = {"complete": f"/v1/files/{upload.file_id}/complete"}
    shown = {
        "object": "presigned_upload",
        "id": upload.file_id,
        "filename": upload.filename,
        "upload": put,
        "links": links,
    }
    return json_response(shown)


@blueprint.post("/files/<file_id>/complete")
@operation(
    name="complete_file",
    tag="files",
    scope=Scope.FILES_WRITE,
    body=CompleteUpload,
    body_required=False,
    answers={200: Answer(description="The file.", model=FileView)},
    problems=[409],
)
def complete(file_id: str, body: CompleteUpload) -> Response:
    """Make a file of what was put to a presigned URL.

    It is read once, to hash it. May be asked again, and then answers with the same file.
    """
    if not is_id(file_id, "file"):
        raise NotFound("no such file")
    record = services().joining.complete(caller().tenant, file_id, body.sha256)
    return json_response(record.public())


@blueprint.get("/files")
@operation(
    name="list_files",
    tag="files",
    scope=Scope.FILES_READ,
    query=PageQuery,
    answers={200: Answer(description="A page of files.", model=FilePage)},
)
def listing(query: PageQuery) -> Response:
    """List files, newest first."""
    records, more = services().files.page(caller().tenant, after=query.after, limit=query.limit)
    return page_response([record.public() for record in records], more)


@blueprint.get("/files/<file_id>")
@operation(
    name="get_file",
    tag="files",
    scope=Scope.FILES_READ,
    headers=[IF_NONE_MATCH],
    answers={
        200: Answer(description="What is known of the file.", model=FileView, headers=TAGGED),
        304: NOT_MODIFIED,
    },
)
def show(file_id: str) -> Response:
    """Show what is known of a file."""
    return tagged(services().files.get(caller().tenant, file_id).public())


class ContentQuery(Query):
    """How a file's content is wanted."""

    redirect: Flag = Field(
        default=False,
        description="Answer with a URL of the object store, good for some minutes.",
    )


_CONTENT_HEADERS = {
    "ETag": "SHA-256 of the whole; for `If-Range` and `If-None-Match`.",
    "Accept-Ranges": "Always `bytes`.",
    "Content-Disposition": "A name to save it under.",
}


@blueprint.get("/files/<file_id>/content")
@operation(
    name="get_file_content",
    tag="files",
    scope=Scope.FILES_READ,
    query=ContentQuery,
    headers=[IF_NONE_MATCH, RANGE, IF_RANGE],
    answers={
        200: Answer(
            description="Its bytes.",
            media={"application/octet-stream": _BYTES},
            headers=_CONTENT_HEADERS,
        ),
        206: Answer(
            description="The range that was asked for.",
            media={"application/octet-stream": _BYTES},
            headers=_CONTENT_HEADERS | {"Content-Range": "Which bytes of how many."},
        ),
        304: NOT_MODIFIED,
        307: REDIRECTED,
    },
)
def content(file_id: str, query: ContentQuery) -> Response:
    """Download a file."""
    files, tenant = services().files, caller().tenant
    record = files.get(tenant, file_id)
    quoted = re.sub(r"[^\x20-\x7e]|[\"\\]", "_", record.filename)
    if query.redirect:
        name = TenantNames(tenant).file_content(file_id)
        return presigned_download(name, quoted, "application/octet-stream")
    return ranged(
        lambda offset, length: paced(files.content(tenant, file_id, offset=offset, length=length)),
        size=record.bytes,
        etag=record.sha256,
        content_type="application/octet-stream",
        filename=quoted,
    )


@blueprint.delete("/files/<file_id>")
@operation(
    name="delete_file",
    tag="files",
    scope=Scope.FILES_WRITE,
    answers={204: Answer(description="It is gone.")},
)
def delete(file_id: str) -> Response:
    """Delete a file."""
    at, tenant = services(), caller().tenant
    size = at.files.get(tenant, file_id).bytes
    at.files.delete(tenant, file_id)
    count_stored(at.ledger, tenant, -size)
    return Response(status=204)
