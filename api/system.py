"""Health, kinds and workers."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response

from api.operations import Answer, operation
from api.responses import json_response
from api.schemas.system import Alive, KindPage, Ready, WorkerPage
from api.services import services
from jobs.errors import Unavailable
from jobs.record import rfc3339
from jobs.scopes import Scope

health = Blueprint("health", __name__)
blueprint = Blueprint("system", __name__)


@health.get("/healthz")
@operation(
    name="healthz",
    tag="system",
    answers={200: Answer(description="The process is alive.", model=Alive)},
)
def healthz() -> Response:
    """Say that the process is alive."""
    return json_response({"status": "ok"})


@health.get("/readyz")
@operation(
    name="readyz",
    tag="system",
    answers={
        200: Answer(description="All can be used.", model=Ready),
        503: Answer(description="Something is away; `checks` says what.", model=Ready),
    },
)
def readyz() -> Response:
    """Say whether Redis and the object store can be written to."""
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
@operation(
    name="list_kinds",
    tag="system",
    scope=Scope.WORKERS_READ,
    answers={200: Answer(description="All kinds.", model=KindPage)},
)
def kinds() -> Response:
    """List the kinds of task, with the JSON schema of their parameters and the columns of their outputs."""
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
@operation(
    name="list_workers",
    tag="system",
    scope=Scope.WORKERS_READ,
    answers={200: Answer(description="All live workers.", model=WorkerPage)},
)
def workers() -> Response:
    """List the live workers, their devices and the models they hold."""
    found = [
        {**worker, "object": "worker", "seen_at": rfc3339(worker["seen_at"])}
        for worker in services().ledger.workers.live()
    ]
    return json_response({"data": found, "has_more": False, "next_after": None})
