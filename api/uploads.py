"""``/v1/uploads``: files by parts, in any order, several at once, and gone on with at any time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import LengthRequired

from api.operations import Answer, operation
from api.requests import PageQuery
from api.responses import json_response, page_response
from api.schemas.files import FileView
from api.schemas.uploads import (
    CompleteUpload,
    NewUpload,
    PartView,
    UploadDetailView,
    UploadPage,
    UploadView,
)
from api.services import caller, services
from jobs.errors import InvalidRequest, MalformedBody, NotFound, UnsupportedMedia
from jobs.ids import is_id
from jobs.scopes import Scope
from jobs.uploads import checked_name, file_id_of
from storage.quotas import Arriving, require_stored_room

blueprint = Blueprint("uploads", __name__)

_READ_BYTES = 1 << 20


@blueprint.post("/uploads")
@operation(
    name="begin_upload",
    tag="files",
    scope=Scope.FILES_WRITE,
    body=NewUpload,
    answers={
        201: Answer(
            description="The upload.",
            model=UploadView,
            headers={"Location": "Where the upload is."},
        )
    },
)
def begin(body: NewUpload) -> Response:
    """Begin to upload a file by parts.

    All parts but the last have `part_bytes`; they may be sent in any order and several at once. An upload that gets no
    part for a day is dropped.
    """
    at, tenant = services(), caller().tenant
    require_stored_room(at.ledger, tenant, body.bytes)
    upload = at.uploads.begin(
        tenant,
        checked_name(body.filename),
        size=body.bytes,
        sha256=body.sha256,
        limit=at.settings.max_upload_bytes,
    )
    return json_response(upload.public(), 201, {"Location": f"/v1/uploads/{upload.id}"})


@blueprint.get("/uploads")
@operation(
    name="list_uploads",
    tag="files",
    scope=Scope.FILES_WRITE,
    query=PageQuery,
    answers={200: Answer(description="A page of unfinished uploads.", model=UploadPage)},
)
def listing(query: PageQuery) -> Response:
    """List unfinished uploads by parts, newest first."""
    found, more = services().uploads.page(caller().tenant, after=query.after, limit=query.limit)
    return page_response([upload.public() for upload in found], more)


@blueprint.get("/uploads/<upload_id>")
@operation(
    name="get_upload",
    tag="files",
    scope=Scope.FILES_WRITE,
    answers={200: Answer(description="The upload.", model=UploadDetailView)},
)
def show(upload_id: str) -> Response:
    """Show an upload and which parts have arrived: what is missing is still to be sent."""
    _check_id(upload_id)
    at, tenant = services(), caller().tenant
    try:
        upload = at.uploads.get(tenant, upload_id)
    except NotFound:
        return json_response(_completed(tenant, upload_id))
    parts = [part.public() for part in at.uploads.parts(tenant, upload_id)]
    return json_response({**upload.public(), "parts": parts})


@blueprint.put("/uploads/<upload_id>/parts/<number>")
@operation(
    name="put_upload_part",
    tag="files",
    scope=Scope.FILES_WRITE,
    media={"application/octet-stream": {"type": "string", "format": "binary"}},
    answers={200: Answer(description="The part as it arrived.", model=PartView)},
    problems=[409, 411],
)
def put_part(upload_id: str, number: str) -> Response:
    """Send one part of an upload: the raw body. One that is sent again replaces the one before."""
    _check_id(upload_id)
    if request.content_encoding not in (None, "identity"):
        raise UnsupportedMedia("send the bytes as they are, without Content-Encoding")
    if not re.fullmatch(r"[0-9]{1,9}", number):
        raise InvalidRequest.of("number", "expected a whole number from 1", number)
    length = request.content_length
    if length is None:
        raise LengthRequired("a part needs the header Content-Length")
    at, tenant = services(), caller().tenant
    with Arriving(at.ledger, tenant) as room:
        room.expect(length)
        part = at.uploads.put_part(
            tenant,
            upload_id,
            int(number),
            _pieces(length),
            length=length,
            limit=at.settings.max_upload_bytes,
        )
        room.keep(length)
    return json_response(part.public())


@blueprint.post("/uploads/<upload_id>/complete")
@operation(
    name="complete_upload",
    tag="files",
    scope=Scope.FILES_WRITE,
    body=CompleteUpload,
    body_required=False,
    answers={200: Answer(description="The file.", model=FileView)},
    problems=[409],
)
def complete(upload_id: str, body: CompleteUpload) -> Response:
    """Join the parts of an upload to a file.

    The whole is read once, to hash it. May be asked again, and then answers with the same file.
    """
    _check_id(upload_id)
    record = services().joining.complete(caller().tenant, upload_id, body.sha256)
    return json_response(record.public())


@blueprint.delete("/uploads/<upload_id>")
@operation(
    name="abort_upload",
    tag="files",
    scope=Scope.FILES_WRITE,
    answers={204: Answer(description="It is gone.")},
    problems=[409],
)
def abort(upload_id: str) -> Response:
    """Drop an upload and all parts that have arrived."""
    _check_id(upload_id)
    services().uploads.abort(caller().tenant, upload_id)
    return Response(status=204)


def _check_id(upload_id: str) -> None:
    # Uploads to presigned URLs are kept beside these, under the ids of their files.
    if not is_id(upload_id, "upload"):
        raise NotFound("no such upload")


def _completed(tenant: str, upload_id: str) -> dict[str, Any]:
    try:
        record = services().files.get(tenant, file_id_of(upload_id))
    except NotFound:
        raise NotFound(f"no upload {upload_id}") from None
    return {
        "object": "upload",
        "id": upload_id,
        "status": "completed",
        "filename": record.filename,
        "bytes": record.bytes,
        "sha256": record.sha256,
        "part_bytes": None,
        "file_id": record.id,
        "created_at": record.created_at,
        "expires_at": None,
        "parts": [],
    }


def _pieces(length: int) -> Iterator[bytes]:
    left = length
    while left > 0:
        piece = request.stream.read(min(left, _READ_BYTES))
        if not piece:
            raise MalformedBody(f"the body ended {left} bytes early")
        left -= len(piece)
        yield piece
