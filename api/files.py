"""``/v1/files``: uploads of any size, streamed to the object store as they arrive."""

from __future__ import annotations

import re
from typing import BinaryIO, cast

from flask import Blueprint, Response, request

from api.multipart import multipart_file
from api.requests import no_query, page_limit
from api.responses import json_response, page_response, ranged
from api.services import caller, services
from jobs.errors import InvalidRequest, UnsupportedMedia

blueprint = Blueprint("files", __name__)


@blueprint.post("/files")
def upload() -> Response:
    """Store a file: the raw body, or the part ``file`` of a multipart form."""
    no_query("filename")
    at = services()
    if request.mimetype == "multipart/form-data":
        filename, stream = multipart_file()
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
