"""``/v1/audit``, and how calls come into the log: each one that changed something, once it was done."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flask import Blueprint, Response, current_app, g, request
from pydantic import Field

from api.operations import Answer, declared, operation
from api.requests import PageQuery
from api.responses import page_response
from api.schemas.usage import AuditEntryPage
from api.services import caller, services
from jobs.errors import InvalidRequest
from jobs.scopes import Scope
from storage.audit import AuditEntry

blueprint = Blueprint("audit", __name__)

#: What is noted of each operation that changes something, by its name. One that is answered 200 where it may be
#: answered 201 was a repetition and is not noted.
ACTIONS: Mapping[str, str] = {
    "create_job": "job.submit",
    "cancel_job": "job.cancel",
    "retry_job": "job.retry",
    "delete_job": "job.delete",
    "resend_delivery": "delivery.resend",
    "upload_file": "file.upload",
    "complete_upload": "file.upload",
    "complete_file": "file.upload",
    "delete_file": "file.delete",
    "import_model": "model.import",
    "set_alias": "alias.set",
    "roll_back_alias": "alias.roll_back",
    "delete_alias": "alias.delete",
    "delete_version": "version.delete",
    "delete_model": "model.delete",
    "create_schedule": "schedule.create",
    "change_schedule": "schedule.change",
    "delete_schedule": "schedule.delete",
    "pause_schedule": "schedule.pause",
    "resume_schedule": "schedule.resume",
    "trigger_schedule": "schedule.trigger",
    "preview_schedule": "schedule.preview",
    "resend_schedule_delivery": "delivery.resend",
    "create_key": "key.create",
    "revoke_key": "key.revoke",
}


#: Operations that are no change by themselves although they are no mere look: no file comes of them.
QUIET: frozenset[str] = frozenset({"begin_upload", "put_upload_part", "abort_upload"})


def note(response: Response) -> Response:
    """Note the call that is being answered, if it changed something."""
    view = current_app.view_functions.get(request.endpoint or "")
    found = declared(view)
    action = None if found is None else ACTIONS.get(found.name)
    if found is None or action is None or response.status_code >= 300:
        return response
    if 201 in found.answers and response.status_code != 201:
        return response
    key = caller()
    services().audit.add(
        AuditEntry(
            tenant=key.tenant,
            action=action,
            subject=_subject(response),
            key_id=key.id,
            address=request.remote_addr,
            request_id=g.request_id,
        )
    )
    return response


def _subject(response: Response) -> str:
    """Id or name of what was changed: the parts of its path behind its sort."""
    path = response.headers.get("Location") or request.path
    parts = path.removeprefix("/v1/").split("/")
    # /v1/models/tickets/aliases/prod is tickets/prod; /v1/jobs/job_a/cancel is job_a.
    return "/".join(parts[1::2]) if parts[0] == "models" else parts[1]


class AuditQuery(PageQuery):
    """Which page of the log."""

    after: str | None = Field(
        default=None, max_length=40, description="`next_after` of the page before."
    )


@blueprint.get("/audit")
@operation(
    name="list_audit",
    tag="keys",
    scope=Scope.KEYS_WRITE,
    query=AuditQuery,
    answers={200: Answer(description="A page of the log.", model=AuditEntryPage)},
)
def listing(query: AuditQuery) -> Response:
    """List who changed what in the caller's tenant, newest first."""
    after = query.after
    if after is not None and not re.fullmatch(r"audit_[0-9]{13}-[0-9]{15}", after):
        raise InvalidRequest.of("after", "expected the id of an entry", after)
    entries, more = services().audit.page(caller().tenant, after=after, limit=query.limit)
    return page_response([entry.public() for entry in entries], more)
