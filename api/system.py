"""Health, kinds and workers."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response

from api.requests import no_query
from api.responses import json_response
from api.services import services
from jobs.errors import Unavailable
from jobs.record import rfc3339

health = Blueprint("health", __name__)
blueprint = Blueprint("system", __name__)


@health.get("/healthz")
def healthz() -> Response:
    """Whether the process is alive."""
    return json_response({"status": "ok"})


@health.get("/readyz")
def readyz() -> Response:
    """Whether Redis and the object store can be written to."""
    at = services()
    checks = {
        "redis": _check(at.ledger.probe),
        "ledger": _check(at.ledger.require_epoch),
        "object_store": _check(at.store.probe),
    }
    ready = all(answer == "ok" for answer in checks.values())
    return json_response(
        {"status": "ok" if ready else "unavailable", "checks": checks}, 200 if ready else 503
    )


def _check(probe: Callable[[], None]) -> str:
    try:
        probe()
    except Unavailable as error:
        return error.detail
    return "ok"


@blueprint.get("/kinds")
def kinds() -> Response:
    """The kinds of task with the JSON schema of their parameters and the columns of their outputs."""
    no_query()
    found = [
        {
            "object": "kind",
            "name": kind.name,
            "summary": kind.summary,
            "needs_model": kind.needs_model,
            "params": kind.Params.model_json_schema(),
            "output_columns": dict(kind.output_columns),
        }
        for kind in services().kinds.values()
    ]
    return json_response({"data": found, "has_more": False, "next_after": None})


@blueprint.get("/workers")
def workers() -> Response:
    """The live workers, their devices and the models they hold."""
    no_query()
    found = [
        {**worker, "object": "worker", "seen_at": rfc3339(worker["seen_at"])}
        for worker in services().ledger.workers.live()
    ]
    return json_response({"data": found, "has_more": False, "next_after": None})
