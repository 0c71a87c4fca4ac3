"""``/v1/keys``: the API keys of the caller's tenant."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field

from api.operations import Answer, operation
from api.requests import PageQuery
from api.responses import json_response, page_response
from api.schemas.keys import KeyPage, KeyView, NewKeyView
from api.services import admitted, caller, services
from jobs.errors import Forbidden, InvalidRequest
from jobs.ids import is_id
from jobs.scopes import Scope

blueprint = Blueprint("keys", __name__)

#: Longest life of a key that has one, in days.
_MOST_DAYS = 3_660

_DAY_MS = 86_400_000


class KeyBody(BaseModel):
    """The body of ``POST /v1/keys``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="What the key is for.",
        examples=["nightly import"],
    )
    scopes: list[Scope] | None = Field(
        default=None,
        min_length=1,
        max_length=len(Scope),
        strict=False,
        description="What it may be used for, no more than the caller's own key may; by default all of that.",
        examples=[["jobs:read", "jobs:write"]],
    )
    expires_in_days: int | None = Field(
        default=None,
        ge=1,
        le=_MOST_DAYS,
        description="Days after which it is worthless; by default as long as the caller's own key.",
        examples=[90],
    )


@blueprint.post("/keys")
@operation(
    name="create_key",
    tag="keys",
    scope=Scope.KEYS_WRITE,
    body=KeyBody,
    answers={
        201: Answer(
            description="The key, which is shown only now.",
            model=NewKeyView,
            headers={"Location": "Where its record is."},
        )
    },
)
def create(body: KeyBody) -> Response:
    """Make a key.

    It can do nothing, and lives no longer, than the key that makes it.
    """
    at, own = services(), caller()
    scopes = own.scopes if body.scopes is None else frozenset(body.scopes)
    beyond = sorted(scopes - own.scopes)
    if beyond:
        raise Forbidden(f"the API key cannot grant what it lacks itself: {', '.join(beyond)}")
    days = body.expires_in_days
    wanted = None if days is None else admitted().now + days * _DAY_MS
    ends = min((one for one in (own.expires_at, wanted) if one is not None), default=None)
    record, key = at.keys.create(
        own.tenant, body.name, scopes=scopes, expires_at=ends, created_by=own.id
    )
    headers = {"Location": f"/v1/keys/{record.id}"}
    return json_response({**record.public(), "key": key}, 201, headers)


@blueprint.get("/keys")
@operation(
    name="list_keys",
    tag="keys",
    scope=Scope.KEYS_WRITE,
    query=PageQuery,
    answers={200: Answer(description="A page of keys.", model=KeyPage)},
)
def listing(query: PageQuery) -> Response:
    """List the keys' records, oldest first; those that were revoked too."""
    if query.after is not None and not is_id(query.after, "key"):
        raise InvalidRequest.of("after", "expected the id of a key", query.after)
    ring = services().keys
    found, more = ring.page(caller().tenant, after=query.after, limit=query.limit)
    used = ring.last_used(found)
    return page_response([record.public(used.get(record.id)) for record in found], more)


@blueprint.get("/keys/<key_id>")
@operation(
    name="get_key",
    tag="keys",
    scope=Scope.KEYS_WRITE,
    answers={200: Answer(description="The key's record.", model=KeyView)},
)
def show(key_id: str) -> Response:
    """Show a key's record, without the key."""
    ring = services().keys
    record = ring.get(caller().tenant, key_id)
    return json_response(record.public(ring.last_used([record]).get(record.id)))


@blueprint.delete("/keys/<key_id>")
@operation(
    name="revoke_key",
    tag="keys",
    scope=Scope.KEYS_WRITE,
    answers={200: Answer(description="The key's record.", model=KeyView)},
)
def revoke(key_id: str) -> Response:
    """Make a key worthless at once.

    Its record stays. Harmless when repeated; the caller's own key may be revoked too.
    """
    ring = services().keys
    record = ring.revoke(caller().tenant, key_id)
    return json_response(record.public(ring.last_used([record]).get(record.id)))
