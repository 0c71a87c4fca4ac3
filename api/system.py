"""Health, kinds and workers."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from flask import Blueprint, Response

from api.operations import Answer, operation
from api.responses import json_response
from api.schemas.system import Alive, KindPage, Ready, WorkerPage
from api.services import caller, services
from jobs.errors import Unavailable
from jobs.modelref import ModelRef, Scheme
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
    """List the live workers, their devices and the models they hold.

    Jobs and models that another tenant alone knows of are left out.
    """
    at, tenant = services(), caller().tenant
    live = at.ledger.workers.live()
    jobs = {job for worker in live if (job := worker["job"]) and _is_own(job, tenant)}
    names = set(at.registry.names(tenant)) if any(worker["models"] for worker in live) else set()
    found = [
        {**shown_worker(worker, jobs, names), "seen_at": rfc3339(worker["seen_at"])}
        for worker in live
    ]
    return json_response({"data": found, "has_more": False, "next_after": None})


def _is_own(job_id: str, tenant: str) -> bool:
    record = services().ledger.jobs.find(job_id)
    return record is not None and record.tenant == tenant


def shown_worker(
    worker: Mapping[str, Any], jobs: Container[str], names: Container[str]
) -> dict[str, Any]:
    """What a tenant sees of a worker.

    Args:
        worker: what it says of itself.
        jobs: the tenant's own jobs.
        names: the registry's models that the tenant knows.
    """
    models = [text for text in worker["models"] if _is_known(text, names)]
    job = worker["job"] if worker["job"] in jobs else None
    return {**worker, "object": "worker", "models": models, "job": job}


def _is_known(text: str, names: Container[str]) -> bool:
    """Models of hubs and packages are known to all; one in a bucket tells of whoever put it there."""
    ref = ModelRef.parse(text)
    if ref.scheme is Scheme.REGISTRY:
        return ref.location in names
    return ref.scheme is not Scheme.S3
