"""``/v1/jobs``: submit, show, list, cancel, retry, delete."""

from __future__ import annotations

import time

from flask import Blueprint, Response, request
from pydantic import Field

from api.conditional import asked, has_current, not_modified
from api.operations import IDEMPOTENCY_KEY, IF_NONE_MATCH, NOT_MODIFIED, Answer, operation
from api.requests import PageQuery, Query, WholeNumber, idempotency_key
from api.responses import json_response, page_response
from api.schemas.jobs import JobPage, JobView
from api.services import admitted, caller, services
from api.snapshots import Snapshot, etag
from jobs.errors import NotFound
from jobs.ids import is_id
from jobs.record import JobRecord
from jobs.scopes import Scope
from jobs.spec import JobSpec
from jobs.states import Status
from storage.ledger import JobFilter
from storage.ledger.jobs import record_of

blueprint = Blueprint("jobs", __name__)

#: Longest wait for a change, in seconds.
MAX_WAIT = 30

_ETAG = {"ETag": "Changes with the job; for `If-None-Match`."}
_LOCATION = {"Location": "Where the job is."}
_JOB = Answer(description="The job.", model=JobView, headers=_ETAG)


class ShowQuery(Query):
    """How a job is shown."""

    wait: WholeNumber = Field(
        default=0,
        ge=0,
        le=MAX_WAIT,
        description="Answer when the job changes, at the latest after so many seconds.",
    )


class ListingQuery(PageQuery):
    """Which jobs are listed."""

    status: Status | None = Field(default=None, description="Only jobs with this status.")
    kind: str | None = Field(default=None, max_length=100, description="Only jobs of this kind.")
    name: str | None = Field(default=None, max_length=200, description="Only jobs of this name.")


@blueprint.post("/jobs")
@operation(
    name="create_job",
    tag="jobs",
    scope=Scope.JOBS_WRITE,
    body=JobSpec,
    headers=[IDEMPOTENCY_KEY],
    answers={
        201: Answer(description="The new job.", model=JobView, headers=_ETAG | _LOCATION),
        200: Answer(
            description="The job of an earlier submission with this `Idempotency-Key`.",
            model=JobView,
            headers=_ETAG | _LOCATION,
        ),
    },
    problems=[409],
)
def submit(body: JobSpec) -> Response:
    """Submit a job.

    It is kept before this answers: what was acknowledged is computed, whatever is killed.
    """
    at, tenant, spec = services(), caller().tenant, body
    key = idempotency_key()
    accepted = at.acceptance.accept(tenant, spec)
    record, new = at.submissions.submit(
        tenant, spec, accepted.model, key, input_bytes=accepted.input_bytes
    )
    headers = {"Location": f"/v1/jobs/{record.id}", "ETag": etag(record)}
    return json_response(record.public(), 201 if new else 200, headers)


@blueprint.get("/jobs/<job_id>")
@operation(
    name="get_job",
    tag="jobs",
    scope=Scope.JOBS_READ,
    query=ShowQuery,
    headers=[IF_NONE_MATCH],
    answers={200: _JOB, 304: NOT_MODIFIED},
)
def show(job_id: str, query: ShowQuery) -> Response:
    """Show a job; with `wait`, when it changes.

    With `If-None-Match` too, the change is one from that state; without it, from the present one.
    """
    _check_id(job_id)
    call, snapshots = admitted(), services().snapshots
    if not call.job:
        raise NotFound(f"no job {job_id}")
    # It was read when the call was let in.
    found = snapshots.rendered(call.job, call.now)
    if query.wait and not found.record.status.ended and (not asked() or has_current(found.tag)):
        found = _changed(caller().tenant, found, query.wait)
        # It may have been revoked meanwhile, and what changed since is not for it.
        services().keys.recheck(caller())
    if has_current(found.tag):
        return not_modified(found.tag)
    return Response(found.body, headers={"ETag": found.etag}, content_type="application/json")


def _changed(tenant: str, known: Snapshot, seconds: int) -> Snapshot:
    """The job once it is another than the one known, or after so many seconds as it is then."""
    at, job_id = services(), known.record.id
    deadline = time.monotonic() + seconds
    with at.changes.watch(tenant, job_id) as watch:
        found = at.snapshots.get(tenant, job_id)
        while watch and found.etag == known.etag and not at.changes.closed:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            watch.wait(left)
            found = at.snapshots.get(tenant, job_id)
    return found


@blueprint.get("/jobs")
@operation(
    name="list_jobs",
    tag="jobs",
    scope=Scope.JOBS_READ,
    query=ListingQuery,
    answers={200: Answer(description="A page of jobs.", model=JobPage)},
    problems=[404],
)
def listing(query: ListingQuery) -> Response:
    """List jobs, newest first."""
    wanted = JobFilter(status=query.status, kind=query.kind, name=query.name)
    records, more = services().ledger.jobs.page(
        caller().tenant, wanted, after=query.after, limit=query.limit
    )
    return page_response([record.public() for record in records], more)


@blueprint.post("/jobs/<job_id>/cancel")
@operation(
    name="cancel_job",
    tag="jobs",
    scope=Scope.JOBS_WRITE,
    answers={200: _JOB},
    problems=[409],
)
def cancel(job_id: str) -> Response:
    """Cancel a job.

    Rows done so far are kept. Harmless when repeated.
    """
    record = services().submissions.cancel(caller().tenant, find(job_id).id)
    return json_response(record.public(), headers={"ETag": etag(record)})


@blueprint.post("/jobs/<job_id>/retry")
@operation(
    name="retry_job",
    tag="jobs",
    scope=Scope.JOBS_WRITE,
    answers={200: _JOB},
    problems=[409],
)
def retry(job_id: str) -> Response:
    """Try the rows of an ended job again that have no result."""
    record = services().submissions.retry(caller().tenant, find(job_id).id)
    return json_response(record.public(), headers={"ETag": etag(record)})


@blueprint.delete("/jobs/<job_id>")
@operation(
    name="delete_job",
    tag="jobs",
    scope=Scope.JOBS_WRITE,
    answers={204: Answer(description="It is gone.")},
    problems=[409],
)
def delete(job_id: str) -> Response:
    """Delete an ended job with all its objects."""
    services().submissions.delete(caller().tenant, find(job_id).id)
    return Response(status=204)


def find(job_id: str) -> JobRecord:
    """The caller's job with this id.

    Raises:
        NotFound: the caller has none.
    """
    _check_id(job_id)
    call = admitted()
    if request.method in ("GET", "HEAD"):
        # It was read when the call was let in.
        if not call.job:
            raise NotFound(f"no job {job_id}")
        return record_of(call.job, call.now)
    return services().ledger.jobs.get(caller().tenant, job_id)


def _check_id(job_id: str) -> None:
    if not is_id(job_id, "job"):
        raise NotFound("no such job")
