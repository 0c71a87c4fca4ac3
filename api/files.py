"""``/v1/files``: uploads of any size, streamed to the object store as they arrive."""

from __future__ import annotations

import re
from typing import BinaryIO, cast

from flask import Blueprint, Response, request
from pydantic import Field

from api.multipart import multipart_file
from api.operations import IF_RANGE, RANGE, Answer, operation
from api.requests import PageQuery, Query
from api.responses import json_response, paced, page_response, ranged
from api.schemas.files import FilePage, FileView
from api.services import caller, services
from jobs.errors import InvalidRequest, UnsupportedMedia
from jobs.scopes import Scope

blueprint = Blueprint("files", __name__)


_BYTES = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {"file": {**_BYTES, "description": "The file, with its name."}},
    "required": ["file"],
    "additionalProperties": False,
}


class UploadQuery(Query):
    """What an upload is called."""

    filename: str = Field(
        default="",
        max_length=255,
        description="Name of a raw body, whose ending tells the format; `upload.jsonl` when empty.",
    )


@blueprint.post("/files")
@operation(
    name="upload_file",
    tag="files",
    scope=Scope.FILES_WRITE,
    query=UploadQuery,
    media={"application/octet-stream": _BYTES, "multipart/form-data": _FORM},
    answers={
        201: Answer(
            description="The file.", model=FileView, headers={"Location": "Where the file is."}
        )
    },
)
def upload(query: UploadQuery) -> Response:
    """Store a file: the raw body, or the part `file` of a multipart form.

    Of any size; it is written to the object store as it arrives.
    """
    at = services()
    if request.mimetype == "multipart/form-data":
        filename, stream = multipart_file()
    else:
        if request.content_encoding not in (None, "identity"):
            raise UnsupportedMedia("send a .gz file as it is, without Content-Encoding")
        filename = query.filename
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
    answers={200: Answer(description="What is known of the file.", model=FileView)},
)
def show(file_id: str) -> Response:
    """Show what is known of a file."""
    return json_response(services().files.get(caller().tenant, file_id).public())


_CONTENT_HEADERS = {
    "ETag": "Of the whole; for `If-Range`.",
    "Accept-Ranges": "Always `bytes`.",
    "Content-Disposition": "A name to save it under.",
}


@blueprint.get("/files/<file_id>/content")
@operation(
    name="get_file_content",
    tag="files",
    scope=Scope.FILES_READ,
    headers=[RANGE, IF_RANGE],
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
    },
)
def content(file_id: str) -> Response:
    """Download a file."""
    files, tenant = services().files, caller().tenant
    record = files.get(tenant, file_id)
    quoted = re.sub(r"[^\x20-\x7e]|[\"\\]", "_", record.filename)
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
    services().files.delete(caller().tenant, file_id)
    return Response(status=204)
