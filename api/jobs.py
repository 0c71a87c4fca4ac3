"""``/v1/jobs``: submit, show, list, cancel, retry, delete."""

from __future__ import annotations

import time
from collections.abc import Mapping

import orjson
from flask import Blueprint, Response, request

from api.models import resolve_model
from api.requests import between, idempotency_key, json_body, no_query, page_limit, query
from api.responses import json_response, page_response
from api.services import caller, services
from jobs.errors import InvalidRequest, NotFound, TooLarge
from jobs.ids import is_id
from jobs.params import parse_params
from jobs.record import JobRecord
from jobs.s3uri import check_allowed
from jobs.spec import MAX_INLINE_BYTES, JobSpec
from jobs.states import Status
from jobs.training import TrainingKind
from storage.ledger import JobFilter

blueprint = Blueprint("jobs", __name__)

#: Longest wait for a change, and time between two looks at the ledger, in seconds.
MAX_WAIT = 30
_POLL = 0.1


@blueprint.post("/jobs")
def submit() -> Response:
    """Take a job in."""
    no_query()
    at, tenant = services(), caller().tenant
    spec = json_body(JobSpec, at.settings.max_request_bytes)
    key = idempotency_key()
    kind = at.kinds.require(spec.kind)
    params = parse_params(kind, spec.params)
    if isinstance(kind, TrainingKind):
        _check_files(kind.files(params), tenant)
    model = resolve_model(kind, spec.model)
    input_bytes = _check_input(spec, tenant)
    record, new = at.submissions.submit(tenant, spec, model, key, input_bytes=input_bytes)
    headers = {"Location": f"/v1/jobs/{record.id}", "ETag": _etag(record)}
    return json_response(record.public(), 201 if new else 200, headers)


def _check_input(spec: JobSpec, tenant: str) -> int | None:
    """Refuse an input that cannot be read; its size in bytes, where that is known."""
    at, given = services(), spec.input
    if given.items is not None:
        size = len(orjson.dumps(given.items))
        if size > MAX_INLINE_BYTES:
            raise TooLarge(
                f"input.items has {size} bytes, the limit is {MAX_INLINE_BYTES}; upload a file instead"
            )
    elif given.file is not None:
        try:
            return at.files.get(tenant, given.file).bytes
        except NotFound:
            raise InvalidRequest.of("input.file", "no such file", given.file) from None
    elif given.uri is not None:
        check_allowed(
            given.uri,
            own_bucket=at.settings.s3_bucket,
            allowed=at.settings.s3_allowed_prefixes,
            field="input.uri",
        )
    return None


def _check_files(files: Mapping[str, str], tenant: str) -> None:
    """Refuse a training that names files which are not there."""
    for name, file_id in files.items():
        try:
            services().files.get(tenant, file_id)
        except NotFound:
            raise InvalidRequest.of(f"params.{name}", "no such file", file_id) from None


@blueprint.get("/jobs/<job_id>")
def show(job_id: str) -> Response:
    """A job; with ``wait``, answered when it changes or the time is up."""
    no_query("wait")
    wait = query("wait", between(0, MAX_WAIT), f"seconds from 0 to {MAX_WAIT}") or 0
    record = find(job_id)
    seen = request.headers.get("If-None-Match")
    if wait and not record.status.ended and seen in (None, _etag(record)):
        record = _wait(record, wait)
    if seen == _etag(record):
        return Response(status=304, headers={"ETag": _etag(record)})
    return json_response(record.public(), headers={"ETag": _etag(record)})


def _wait(record: JobRecord, seconds: int) -> JobRecord:
    table = services().ledger.jobs
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(_POLL)
        if table.version(record.id) != record.version:
            break
    return table.get(record.tenant, record.id)


@blueprint.get("/jobs")
def listing() -> Response:
    """Jobs, newest first."""
    no_query("status", "kind", "name", "after", "limit")
    wanted = JobFilter(
        status=query("status", Status, "one of " + ", ".join(Status)),
        kind=request.args.get("kind"),
        name=request.args.get("name"),
    )
    records, more = services().ledger.jobs.page(
        caller().tenant, wanted, after=request.args.get("after"), limit=page_limit()
    )
    return page_response([record.public() for record in records], more)


@blueprint.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """Cancel a job."""
    no_query()
    record = services().submissions.cancel(caller().tenant, find(job_id).id)
    return json_response(record.public(), headers={"ETag": _etag(record)})


@blueprint.post("/jobs/<job_id>/retry")
def retry(job_id: str) -> Response:
    """Try the rows of an ended job again that have no result."""
    no_query()
    record = services().submissions.retry(caller().tenant, find(job_id).id)
    return json_response(record.public(), headers={"ETag": _etag(record)})


@blueprint.delete("/jobs/<job_id>")
def delete(job_id: str) -> Response:
    """Delete an ended job with all its objects."""
    no_query()
    services().submissions.delete(caller().tenant, find(job_id).id)
    return Response(status=204)


def find(job_id: str) -> JobRecord:
    """The caller's job with this id.

    Raises:
        NotFound: the caller has none.
    """
    if not is_id(job_id, "job"):
        raise NotFound("no such job")
    return services().ledger.jobs.get(caller().tenant, job_id)


def _etag(record: JobRecord) -> str:
    return f'"{record.version}"'
