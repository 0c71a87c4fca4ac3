"""``/v1/jobs/{id}/deliveries``: what a job's webhook was told, and telling it again."""

from __future__ import annotations

from flask import Blueprint, Response

from api.jobs import find
from api.operations import Answer, operation
from api.requests import PageQuery
from api.responses import json_response, page_response
from api.schemas.webhooks import DeliveryPage, DeliveryView
from api.services import services
from jobs.errors import NotFound
from jobs.scopes import Scope
from jobs.webhooks import is_event_id
from storage.webhooks import DeliveryTable, Resending

blueprint = Blueprint("webhooks", __name__)


@blueprint.get("/jobs/<job_id>/deliveries")
@operation(
    name="list_deliveries",
    tag="jobs",
    scope=Scope.JOBS_READ,
    query=PageQuery,
    answers={200: Answer(description="A page of deliveries.", model=DeliveryPage)},
)
def listing(job_id: str, query: PageQuery) -> Response:
    """List what the job's webhook was told, and what came of it.

    There is one delivery for each end of the job: a retry that ends is another. A job without a webhook has none.
    """
    record = find(job_id)
    if query.after is not None and not is_event_id(query.after, record.id):
        raise NotFound(f"no delivery {query.after} to go on after")
    found, more = DeliveryTable(services().store).page(
        record.tenant, record.id, after=query.after, limit=query.limit
    )
    return page_response([delivery.public() for delivery in found], more)


@blueprint.post("/jobs/<job_id>/deliveries/<delivery_id>/resend")
@operation(
    name="resend_delivery",
    tag="jobs",
    scope=Scope.JOBS_WRITE,
    answers={200: Answer(description="The delivery, which is pending again.", model=DeliveryView)},
    problems=[409],
)
def resend(job_id: str, delivery_id: str) -> Response:
    """Tell the job's webhook again.

    The same event under the same id, whatever came of it before; attempted at once, and then for a day.
    """
    record = find(job_id)
    at = services()
    delivery = Resending(at.store, at.ledger).resend(record.tenant, record.id, delivery_id)
    return json_response(delivery.public())
