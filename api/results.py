"""``/v1/jobs/{id}/results`` and ``/errors``, as JSON lines, CSV or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

from flask import Blueprint, Response, request
from pydantic import BaseModel, Field

from api.jobs import find
from api.operations import IF_NONE_MATCH, IF_RANGE, NOT_MODIFIED, RANGE, Answer, operation
from api.presigning import REDIRECTED, presigned_download
from api.requests import Flag, Query
from api.responses import begun, json_response, paced, ranged
from api.services import services
from jobs.errors import Conflict, InvalidRequest, NotFound
from jobs.names import JobNames
from jobs.outtake import CONTENT_TYPES, ErrorTable, OutputFormat, ResultTable, Table, convert
from jobs.record import JobRecord
from jobs.scopes import Scope
from storage.parts import stream_parts
from storage.submission import read_manifest

blueprint = Blueprint("results", __name__)

Section = Literal["results", "errors"]

#: Bytes of lines that are made into another format before other requests get their turn.
_CONVERTED_BYTES = 128 << 10

_RANGED = {
    "ETag": "Of the whole; for `If-Range`.",
    "Accept-Ranges": "`bytes` where a range may be asked for, else `none`.",
    "Content-Disposition": "A name to save it under.",
}
_BODIES = {media: {"type": "string"} for media in CONTENT_TYPES.values()}
_ROWS = {
    200: Answer(
        description="Rows in input order, in the format that was asked for.",
        media=_BODIES,
        headers=_RANGED | {"Textmill-Partial": "`true` where rows are still to come."},
    ),
    206: Answer(
        description="The range that was asked for; JSON lines of an ended job only.",
        media={CONTENT_TYPES["jsonl"]: {"type": "string"}},
        headers=_RANGED | {"Content-Range": "Which bytes of how many."},
    ),
    304: NOT_MODIFIED,
    307: REDIRECTED,
}


class RowsQuery(Query):
    """Which rows, and how they are written."""

    partial: Flag = Field(
        default=False,
        description="Of a job that has not ended: the rows done so far, in input order with gaps.",
    )
    format: OutputFormat = Field(default="jsonl", description="How the rows are written.")
    redirect: Flag = Field(
        default=False,
        description="Of JSON lines of an ended job: answer with a URL of the object store, good for some minutes.",
    )


class EvaluationView(BaseModel):
    """How good a job's results are, with all tables. What it holds depends on the kind."""

    model_config = {"extra": "allow"}


@blueprint.get("/jobs/<job_id>/results")
@operation(
    name="get_results",
    tag="jobs",
    scope=Scope.JOBS_READ,
    query=RowsQuery,
    headers=[IF_NONE_MATCH, RANGE, IF_RANGE],
    answers=_ROWS,
    problems=[409],
)
def results(job_id: str, query: RowsQuery) -> Response:
    """Fetch result rows, in input order."""
    return _rows(job_id, "results", query)


@blueprint.get("/jobs/<job_id>/errors")
@operation(
    name="get_errors",
    tag="jobs",
    scope=Scope.JOBS_READ,
    query=RowsQuery,
    headers=[IF_NONE_MATCH, RANGE, IF_RANGE],
    answers=_ROWS,
    problems=[409],
)
def errors(job_id: str, query: RowsQuery) -> Response:
    """Fetch error rows, in input order."""
    return _rows(job_id, "errors", query)


@blueprint.get("/jobs/<job_id>/evaluation")
@operation(
    name="get_evaluation",
    tag="jobs",
    scope=Scope.JOBS_READ,
    answers={200: Answer(description="The evaluation.", model=EvaluationView)},
    problems=[409],
)
def evaluation(job_id: str) -> Response:
    """Show how good the results are, with all tables, of a job that was asked to measure them."""
    record = find(job_id)
    if not record.status.ended:
        raise Conflict(f"the job is {record.status}; its results are measured once all are there")
    store = services().store
    manifest = read_manifest(store, JobNames(record.tenant, record.id, record.attempts))
    output = cast("dict[str, dict[str, Any]]", manifest["outputs"]).get("evaluation")
    if output is None:
        raise NotFound("the job's results were not measured; submit it with evaluate: true")
    return json_response(store.get_json(str(output["object"])))


def _rows(job_id: str, section: Section, query: RowsQuery) -> Response:
    partial, wanted = query.partial, query.format
    record = find(job_id)
    if query.redirect and wanted != "jsonl":
        raise InvalidRequest.of("redirect", "only JSON lines lie in the store; leave one out")
    if record.status.ended:
        return _final(record, section, query)
    if query.redirect:
        raise Conflict(f"the job is {record.status}; its {section} lie in the store once it ended")
    if not partial:
        raise Conflict(
            f"the job is {record.status}; its {section} are ready once it has ended, "
            "or add partial=true for the rows done so far"
        )
    at = services()
    names = JobNames(record.tenant, record.id, record.attempts)
    parts = at.ledger.ranges.parts(record.id)
    response = _streamed(record, section, wanted, stream_parts(at.store, names, parts, section))
    response.headers["Textmill-Partial"] = "true"
    return response


def _final(record: JobRecord, section: Section, query: RowsQuery) -> Response:
    store, wanted = services().store, query.format
    manifest = read_manifest(store, JobNames(record.tenant, record.id, record.attempts))
    output = cast("dict[str, Any]", manifest["outputs"][section])
    name, size = str(output["object"]), int(output["bytes"])
    if wanted != "jsonl":
        return _streamed(record, section, wanted, store.stream(name, length=size))
    filename = f"{record.id}-{section}.jsonl"
    if query.redirect:
        return presigned_download(name, filename, CONTENT_TYPES[wanted])
    return ranged(
        lambda offset, length: paced(store.stream(name, offset=offset, length=length)),
        size=size,
        etag=f"{record.id}-{section}-{record.attempts}",
        content_type=CONTENT_TYPES[wanted],
        filename=filename,
    )


def _streamed(
    record: JobRecord, section: Section, wanted: OutputFormat, lines: Iterator[bytes]
) -> Response:
    """Lines in the format that was wanted, of a size that nobody knows beforehand.

    A fault on the way is raised while the body is sent: the server then closes the connection without the
    chunk that ends a body, and no client takes what it has for the whole.
    """
    body: Iterator[bytes] = iter(())
    if request.method != "HEAD":
        body = begun(
            paced(lines)
            if wanted == "jsonl"
            else paced(convert(paced(lines, _CONVERTED_BYTES), wanted, _table(record, section)))
        )
    headers = {
        "Accept-Ranges": "none",
        "Content-Disposition": f'attachment; filename="{record.id}-{section}.{wanted}"',
    }
    return Response(body, content_type=CONTENT_TYPES[wanted], headers=headers)


def _table(record: JobRecord, section: Section) -> Table:
    if section == "errors":
        return ErrorTable()
    at = services()
    kind = at.kinds.get(record.kind)  # None where its package is no longer installed
    job = at.submissions.load(record.tenant, record.id)
    return ResultTable(
        kind.output_columns if kind is not None else {}, carried=bool(job.spec.input.carry)
    )
