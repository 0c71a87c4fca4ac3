"""``/v1/jobs/{id}/results`` and ``/errors``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from flask import Blueprint, Response, request

from api.jobs import find
from api.requests import boolean, no_query, query
from api.responses import ranged
from api.services import services
from jobs.errors import Conflict
from jobs.names import JobNames
from jobs.record import JobRecord
from storage.parts import stream_parts
from storage.submission import read_manifest

blueprint = Blueprint("results", __name__)

CONTENT_TYPE = "application/x-ndjson"


@blueprint.get("/jobs/<job_id>/results")
def results(job_id: str) -> Response:
    """Result rows in input order."""
    return _rows(job_id, "results")


@blueprint.get("/jobs/<job_id>/errors")
def errors(job_id: str) -> Response:
    """Error rows in input order."""
    return _rows(job_id, "errors")


def _rows(job_id: str, section: str) -> Response:
    no_query("partial")
    partial = query("partial", boolean, "true or false") or False
    record = find(job_id)
    if record.status.ended:
        return _final(record, section)
    if not partial:
        raise Conflict(
            f"the job is {record.status}; its {section} are ready once it has ended, "
            "or add partial=true for the rows done so far"
        )
    body: Iterator[bytes] = iter(())
    if request.method != "HEAD":
        at = services()
        names = JobNames(record.tenant, record.id, record.attempts)
        body = stream_parts(at.store, names, at.ledger.ranges.parts(record.id), section)
    return Response(body, content_type=CONTENT_TYPE, headers={"Textmill-Partial": "true"})


def _final(record: JobRecord, section: str) -> Response:
    store = services().store
    manifest = read_manifest(store, JobNames(record.tenant, record.id, record.attempts))
    output = cast("dict[str, Any]", manifest["outputs"][section])
    name, size = str(output["object"]), int(output["bytes"])
    return ranged(
        lambda offset, length: store.stream(name, offset=offset, length=length),
        size=size,
        etag=f"{record.id}-{section}-{record.attempts}",
        content_type=CONTENT_TYPE,
        filename=f"{record.id}-{section}.jsonl",
    )
