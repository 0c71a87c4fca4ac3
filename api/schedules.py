"""``/v1/schedules``: jobs that are submitted by the clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import orjson
from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field

from api.operations import IDEMPOTENCY_KEY, Answer, operation
from api.requests import PageQuery, Query, WholeNumber, idempotency_key
from api.responses import json_response, page_response
from api.schemas.jobs import JobView
from api.schemas.schedules import RunPage, RunView, SchedulePage, ScheduleView
from api.schemas.webhooks import DeliveryPage, DeliveryView
from api.services import caller, services
from jobs.chains import StepState, in_order
from jobs.errors import FieldError, InvalidRequest, NotFound
from jobs.ids import idempotent_schedule_id, is_id
from jobs.params import validate
from jobs.record import rfc3339
from jobs.schedules import ScheduleChange, ScheduleSpec
from jobs.scopes import Scope
from jobs.spec import JobTemplate
from jobs.webhooks import is_schedule_event_id
from storage.runs import Run, RunEnd, RunTable, public_run
from storage.schedules import Revision
from storage.webhooks import DeliveryTable, Resending

blueprint = Blueprint("schedules", __name__)

_LOCATION = {"Location": "Where the schedule is."}
_SCHEDULE = Answer(description="The schedule.", model=ScheduleView)

#: Next fire times that a schedule is shown with.
_NEXT = 5


class TriggerBody(BaseModel):
    """What may be asked of a run that is triggered, or previewed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    full: bool = Field(
        default=False,
        description="Compute every row, also those of which an incremental schedule has the output.",
        examples=[True],
    )


class RunsQuery(Query):
    """Which runs are listed."""

    after: str | None = Field(
        default=None,
        max_length=14,
        pattern=r"^[0-9]{1,13}m?$",
        description="`next_after` of the page before.",
        examples=["1793656800000"],
    )
    limit: WholeNumber = Field(default=20, ge=1, le=100, description="Most items of the page.")


@blueprint.post("/schedules")
@operation(
    name="create_schedule",
    tag="schedules",
    scope=Scope.JOBS_WRITE,
    body=ScheduleSpec,
    headers=[IDEMPOTENCY_KEY],
    answers={
        201: Answer(description="The new schedule.", model=ScheduleView, headers=_LOCATION),
        200: Answer(
            description="The schedule of an earlier request with this `Idempotency-Key`.",
            model=ScheduleView,
            headers=_LOCATION,
        ),
    },
    problems=[409],
)
def create(body: ScheduleSpec) -> Response:
    """Make a schedule.

    Its job is checked as a submission is, and so are those that follow it. A model's alias is looked up at each firing,
    when the job is submitted.
    """
    at, tenant, key = services(), caller().tenant, idempotency_key()
    _check(tenant, body)
    secret = at.installation.idempotency_secret
    schedule_id = None if key is None else idempotent_schedule_id(secret, tenant, key)
    made, new = at.schedules.create(tenant, body, schedule_id)
    return json_response(
        _shown(made), 201 if new else 200, {"Location": f"/v1/schedules/{made.id}"}
    )


@blueprint.get("/schedules")
@operation(
    name="list_schedules",
    tag="schedules",
    scope=Scope.JOBS_READ,
    query=PageQuery,
    answers={200: Answer(description="A page of schedules.", model=SchedulePage)},
)
def listing(query: PageQuery) -> Response:
    """List schedules, by their ids."""
    if query.after is not None and not is_id(query.after, "schedule"):
        raise InvalidRequest.of("after", "expected the id of a schedule", query.after)
    at, tenant = services(), caller().tenant
    found, more = at.schedules.page(tenant, after=query.after, limit=query.limit)
    late = at.ledger.schedules.late(tenant, [one.id for one in found])
    return page_response([public_schedule(one, late.get(one.id)) for one in found], more)


@blueprint.get("/schedules/<schedule_id>")
@operation(
    name="get_schedule",
    tag="schedules",
    scope=Scope.JOBS_READ,
    answers={200: _SCHEDULE},
)
def show(schedule_id: str) -> Response:
    """Show a schedule, and when it fires next."""
    return json_response(_shown(services().schedules.get(caller().tenant, schedule_id)))


@blueprint.patch("/schedules/<schedule_id>")
@operation(
    name="change_schedule",
    tag="schedules",
    scope=Scope.JOBS_WRITE,
    body=ScheduleChange,
    answers={200: _SCHEDULE},
)
def change(schedule_id: str, body: ScheduleChange) -> Response:
    """Change a schedule: the fields that are given are replaced, the others stay.

    Another timing counts from now on. What was due before is decided first, by what the schedule was until now.
    """
    at, tenant = services(), caller().tenant
    now = _settle(tenant, schedule_id)

    def changed(spec: ScheduleSpec) -> ScheduleSpec:
        new = validate(ScheduleSpec, orjson.dumps(spec.patched(body.changes())))
        _check(tenant, new, spec)
        return new

    return json_response(_shown(at.schedules.revise(tenant, schedule_id, now, changed)))


@blueprint.delete("/schedules/<schedule_id>")
@operation(
    name="delete_schedule",
    tag="schedules",
    scope=Scope.JOBS_WRITE,
    answers={204: Answer(description="It is gone.")},
)
def delete(schedule_id: str) -> Response:
    """Delete a schedule with its history. Its jobs stay."""
    services().schedules.delete(caller().tenant, schedule_id)
    return Response(status=204)


@blueprint.post("/schedules/<schedule_id>/pause")
@operation(
    name="pause_schedule",
    tag="schedules",
    scope=Scope.JOBS_WRITE,
    answers={200: _SCHEDULE},
)
def pause(schedule_id: str) -> Response:
    """Let a schedule fire no more until it is resumed. Its open runs go on."""
    at, tenant = services(), caller().tenant
    _settle(tenant, schedule_id)
    made = at.schedules.pause(tenant, schedule_id, code="asked", message="paused on request")
    return json_response(_shown(made))


@blueprint.post("/schedules/<schedule_id>/resume")
@operation(
    name="resume_schedule",
    tag="schedules",
    scope=Scope.JOBS_WRITE,
    answers={200: _SCHEDULE},
)
def resume(schedule_id: str) -> Response:
    """Let a paused schedule fire again.

    What would have been due meanwhile is not made up for, and failures in a row are counted anew.
    """
    return json_response(_shown(services().schedules.resume(caller().tenant, schedule_id)))


@blueprint.post("/schedules/<schedule_id>/trigger")
@operation(
    name="trigger_schedule",
    tag="schedules",
    scope=Scope.JOBS_WRITE,
    body=TriggerBody,
    body_required=False,
    headers=[IDEMPOTENCY_KEY],
    answers={200: Answer(description="The run.", model=RunView)},
    problems=[409],
)
def trigger(schedule_id: str, body: TriggerBody) -> Response:
    """Make a run now, also of a paused schedule and beside others.

    Each call makes one, but those with the same `Idempotency-Key` are given the same one.
    """
    run, end = services().firings.trigger(
        caller().tenant, schedule_id, full=body.full, key=idempotency_key()
    )
    return json_response(_shown_run(run, end))


@blueprint.post("/schedules/<schedule_id>/preview")
@operation(
    name="preview_schedule",
    tag="schedules",
    scope=Scope.JOBS_WRITE,
    body=TriggerBody,
    body_required=False,
    headers=[IDEMPOTENCY_KEY],
    answers={201: Answer(description="The job that counts.", model=JobView)},
    problems=[409],
)
def preview(schedule_id: str, body: TriggerBody) -> Response:
    """Count what a run would process now, and what that would cost.

    That takes as long as reading the input does, so it is a job: it computes nothing, writes and tells nothing, and
    ends with an `estimate`; that of an incremental schedule also with its `corpus`. Jobs that follow it in a chain are
    left out.
    """
    record = services().previews.begin(
        caller().tenant, schedule_id, full=body.full, key=idempotency_key()
    )
    return json_response(record.public(), 201)


@blueprint.get("/schedules/<schedule_id>/runs")
@operation(
    name="list_runs",
    tag="schedules",
    scope=Scope.JOBS_READ,
    query=RunsQuery,
    answers={200: Answer(description="A page of runs.", model=RunPage)},
)
def runs(schedule_id: str, query: RunsQuery) -> Response:
    """List what became of each firing, newest first; those that were left out too."""
    at, tenant = services(), caller().tenant
    at.schedules.get(tenant, schedule_id)
    table = RunTable(at.store, tenant, schedule_id)
    marks = list(islice(table.marks(query.after), query.limit + 1))
    found = [(table.get(mark.id), table.end_of(mark.id)) for mark in marks[: query.limit]]
    shown = [_shown_run(run, end) for run, end in found if run is not None]
    return page_response(shown, len(marks) > query.limit)


@blueprint.get("/schedules/<schedule_id>/deliveries")
@operation(
    name="list_schedule_deliveries",
    tag="schedules",
    scope=Scope.JOBS_READ,
    query=PageQuery,
    answers={200: Answer(description="A page of deliveries.", model=DeliveryPage)},
)
def deliveries(schedule_id: str, query: PageQuery) -> Response:
    """List what the schedule's webhook was told, and what came of it."""
    at, tenant = services(), caller().tenant
    at.schedules.get(tenant, schedule_id)
    if query.after is not None and not is_schedule_event_id(query.after, schedule_id):
        raise NotFound(f"no delivery {query.after} to go on after")
    found, more = DeliveryTable(at.store).page(
        tenant, schedule_id, after=query.after, limit=query.limit
    )
    return page_response([delivery.public() for delivery in found], more)


@blueprint.post("/schedules/<schedule_id>/deliveries/<delivery_id>/resend")
@operation(
    name="resend_schedule_delivery",
    tag="schedules",
    scope=Scope.JOBS_WRITE,
    answers={200: Answer(description="The delivery, which is pending again.", model=DeliveryView)},
    problems=[409],
)
def resend(schedule_id: str, delivery_id: str) -> Response:
    """Tell the schedule's webhook again.

    The same event under the same id, whatever came of it before; attempted at once, and then for a day.
    """
    at, tenant = services(), caller().tenant
    at.schedules.get(tenant, schedule_id)
    delivery = Resending(at.store, at.ledger).resend(tenant, schedule_id, delivery_id)
    return json_response(delivery.public())


def public_schedule(revision: Revision, late_since: int | None) -> dict[str, Any]:
    """A schedule as the API shows it."""
    after = max(revision.since, services().ledger.now())
    coming = [] if revision.paused else revision.firings(after, _NEXT)
    paused = revision.paused
    return {
        "object": "schedule",
        "id": revision.id,
        **revision.spec.public(),
        "revision": revision.number,
        "created_at": rfc3339(revision.created_at),
        "changed_at": rfc3339(revision.changed_at),
        "paused": None if paused is None else {**paused, "at": rfc3339(paused["at"])},
        "late_since": rfc3339(late_since),
        "next_fire_times": [rfc3339(fire_at) for fire_at, _ in coming],
    }


def _shown(revision: Revision) -> dict[str, Any]:
    late = services().ledger.schedules.late(revision.tenant, [revision.id])
    return public_schedule(revision, late.get(revision.id))


def _settle(tenant: str, schedule_id: str) -> int:
    """Decide what is due by now, before a change takes effect; the time from which it does."""
    at = services()
    now = at.ledger.now()
    if not is_id(schedule_id, "schedule") or at.firings.look(tenant, schedule_id) is None:
        raise NotFound("no such schedule")
    return now


def _shown_run(run: Run, end: RunEnd | None) -> dict[str, Any]:
    """A run as the API shows it; of one that goes on, how its jobs stand."""
    if end is not None:
        return public_run(run, end)
    known = services().ledger.jobs
    states = []
    for step, job in run.jobs.items():
        record = known.find(job)
        status = "waiting" if record is None else record.status.value
        states.append(StepState(step=step, job=job, status=status))
    return public_run(run, end, states)


def _check(tenant: str, spec: ScheduleSpec, known: ScheduleSpec | None = None) -> None:
    """Check what a schedule submits and tells; only what is not known already."""
    acceptance = services().acceptance
    _check_incremental(spec)
    if known is None or spec.job != known.job:
        with _within("job"):
            acceptance.accept(tenant, spec.job)
    if known is None or spec.then != known.then or spec.job != known.job:
        made = _product(spec.job)
        for step in in_order(spec.then):
            with _within(f"then.{spec.then.index(step)}.job"):
                acceptance.check_step(tenant, step.job, made)
            made |= _product(step.job)
    if spec.webhook is not None and (known is None or spec.webhook != known.webhook):
        acceptance.check_webhook(spec.webhook)


def _product(job: JobTemplate) -> set[str]:
    """The name of the model that a job makes, if it makes one."""
    name = job.params.get("output_name")
    return {name} if isinstance(name, str) else set()


@contextmanager
def _within(field: str) -> Iterator[None]:
    """Name the fields of a part as those of the whole."""
    try:
        yield
    except InvalidRequest as error:
        named = [
            FieldError(field=f"{field}.{one.field}", reason=one.reason, value=one.value)
            for one in error.fields
        ]
        raise type(error)(f"{field}.{error.detail}", fields=named) from None


def _check_incremental(spec: ScheduleSpec) -> None:
    """Refuse to take over outputs of a kind whose outputs are of use only once."""
    if spec.incremental and not services().kinds.require(spec.job.kind).carries:
        reason = f"expected false for {spec.job.kind}: each run makes something new"
        raise InvalidRequest.of("incremental", reason, spec.incremental)
