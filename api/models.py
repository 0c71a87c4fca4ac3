"""``/v1/models``: the registry."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel, ConfigDict, Field

from api.conditional import tagged
from api.operations import (
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    NOT_MODIFIED,
    TAGGED,
    Answer,
    operation,
)
from api.requests import PageQuery, idempotency_key
from api.responses import json_response, page_response
from api.schemas.jobs import JobView
from api.schemas.models import AliasView, Deleted, ModelPage, ModelView
from api.services import caller, services
from jobs.errors import Forbidden, InvalidRequest, NotFound
from jobs.names import MODEL_NAME_PATTERN, is_model_name
from jobs.scopes import Scope
from jobs.spec import InputSpec, JobSpec
from jobs.tenants import SHARED_TENANT
from storage.registry import ModelVersion
from storage.removal import Removal

blueprint = Blueprint("models", __name__)

#: The kind of job that brings a model into the registry.
IMPORT_KIND = "import_model"


class ImportBody(BaseModel):
    """The body of ``POST /v1/models``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ref: str = Field(
        max_length=1024, description="Model reference to import.", examples=["hf:org/name"]
    )
    name: str = Field(
        description="Name in the registry: 1 to 96 letters, digits, `.`, `_` and `-`.",
        examples=["tickets"],
        json_schema_extra={"pattern": MODEL_NAME_PATTERN},
    )


class AliasBody(BaseModel):
    """The body of ``PUT /v1/models/{name}/aliases/{alias}``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str = Field(
        pattern=MODEL_NAME_PATTERN, description="Version, or another alias.", examples=["latest"]
    )


_LOCATION = {"Location": "Where the job is."}


@blueprint.post("/models")
@operation(
    name="import_model",
    tag="models",
    scope=Scope.MODELS_WRITE,
    body=ImportBody,
    headers=[IDEMPOTENCY_KEY],
    answers={
        201: Answer(description="The job that imports it.", model=JobView, headers=_LOCATION),
        200: Answer(
            description="The job of an earlier call with this `Idempotency-Key`.",
            model=JobView,
            headers=_LOCATION,
        ),
    },
    problems=[409],
)
def import_model(body: ImportBody) -> Response:
    """Import a model: a job whose result is the new version."""
    at = services()
    if not is_model_name(body.name):
        raise InvalidRequest.of(
            "name", "expected 1 to 96 letters, digits, '.', '_' and '-'", body.name
        )
    spec = JobSpec(
        kind=IMPORT_KIND,
        model=body.ref,
        name=f"import {body.name}",
        params={"name": body.name},
        input=InputSpec(items=[{"text": body.ref}]),
    )
    kind = at.kinds.require(IMPORT_KIND)
    model = at.acceptance.resolve_model(caller().tenant, kind, body.ref)
    record, new = at.submissions.submit(caller().tenant, spec, model, idempotency_key())
    return json_response(
        record.public(), 201 if new else 200, {"Location": f"/v1/jobs/{record.id}"}
    )


@blueprint.get("/models")
@operation(
    name="list_models",
    tag="models",
    scope=Scope.MODELS_READ,
    query=PageQuery,
    answers={200: Answer(description="A page of models.", model=ModelPage)},
)
def listing(query: PageQuery) -> Response:
    """List models, by name: the tenant's own, and those that all tenants share."""
    after, limit = query.after or "", query.limit
    found: list[dict[str, Any]] = []
    registry = services().registry
    owners = dict.fromkeys((caller().tenant, SHARED_TENANT))
    names = {name for owner in owners for name in registry.names(owner)}
    for name in sorted(names):
        if name <= after:
            continue
        try:
            model = _public(name)
        except NotFound:
            continue  # its first version is still being uploaded
        if len(found) == limit:
            return page_response(found, True, key="name")
        found.append(model)
    return page_response(found, False, key="name")


@blueprint.get("/models/<name>")
@operation(
    name="get_model",
    tag="models",
    scope=Scope.MODELS_READ,
    headers=[IF_NONE_MATCH],
    answers={
        200: Answer(description="The model.", model=ModelView, headers=TAGGED),
        304: NOT_MODIFIED,
    },
)
def show(name: str) -> Response:
    """Show a model with its versions, who published each, and its aliases."""
    registry = services().registry
    owner = registry.owner(caller().tenant, name)
    model = _public(name)
    for version in model["versions"]:
        origins = registry.origins(owner, name, version["version"])
        version["origins"] = [
            {"source": one.source, "job": one.job, "at": one.at, "facts": one.facts}
            for one in origins
        ]
    return tagged(model)


@blueprint.put("/models/<name>/aliases/<alias>")
@operation(
    name="set_alias",
    tag="models",
    scope=Scope.MODELS_WRITE,
    body=AliasBody,
    headers=[IDEMPOTENCY_KEY],
    answers={200: Answer(description="The model.", model=ModelView)},
    problems=[409],
)
def set_alias(name: str, alias: str, body: AliasBody) -> Response:
    """Point an alias at a version."""
    at = services()
    if not is_model_name(alias):
        raise InvalidRequest.of(
            "alias", "expected 1 to 96 letters, digits, '.', '_' and '-'", alias
        )
    _require_own(name)
    known = {one.version for one in at.registry.versions(caller().tenant, name)}
    if alias in known:
        raise InvalidRequest.of("alias", "a version has this name", alias)
    at.registry.set_alias(caller().tenant, name, alias, body.version, idempotency_key())
    return json_response(_public(name))


@blueprint.get("/models/<name>/aliases/<alias>")
@operation(
    name="get_alias",
    tag="models",
    scope=Scope.MODELS_READ,
    headers=[IF_NONE_MATCH],
    answers={
        200: Answer(description="The alias.", model=AliasView, headers=TAGGED),
        304: NOT_MODIFIED,
    },
)
def show_alias(name: str, alias: str) -> Response:
    """Show where an alias points, and how it came there."""
    return tagged(_alias(name, alias))


@blueprint.post("/models/<name>/aliases/<alias>/rollback")
@operation(
    name="roll_back_alias",
    tag="models",
    scope=Scope.MODELS_WRITE,
    headers=[IDEMPOTENCY_KEY],
    answers={200: Answer(description="The alias.", model=AliasView)},
    problems=[409],
)
def roll_back(name: str, alias: str) -> Response:
    """Point an alias at the version before.

    With an `Idempotency-Key`, a repeated call goes no further back.
    """
    _require_own(name)
    services().registry.roll_back(caller().tenant, name, alias, idempotency_key())
    return json_response(_alias(name, alias))


@blueprint.delete("/models/<name>/aliases/<alias>")
@operation(
    name="delete_alias",
    tag="models",
    scope=Scope.MODELS_WRITE,
    answers={200: Answer(description="What was deleted.", model=Deleted)},
    problems=[409],
)
def delete_alias(name: str, alias: str) -> Response:
    """Delete an alias."""
    _require_own(name)
    services().registry.delete_alias(caller().tenant, name, alias)
    return json_response({"name": name, "alias": alias, "deleted": True})


@blueprint.delete("/models/<name>/versions/<version>")
@operation(
    name="delete_version",
    tag="models",
    scope=Scope.MODELS_WRITE,
    answers={200: Answer(description="What was deleted.", model=Deleted)},
    problems=[409],
)
def delete_version(name: str, version: str) -> Response:
    """Delete a version that nothing needs any more."""
    _require_own(name)
    _removal().delete_version(name, version)
    return json_response({"name": name, "version": version, "deleted": True})


@blueprint.delete("/models/<name>")
@operation(
    name="delete_model",
    tag="models",
    scope=Scope.MODELS_WRITE,
    answers={200: Answer(description="What was deleted.", model=Deleted)},
    problems=[409],
)
def delete(name: str) -> Response:
    """Delete a model with all its versions, if nothing needs them any more."""
    _require_own(name)
    _removal().delete_model(name)
    return json_response({"name": name, "deleted": True})


def _require_own(name: str) -> None:
    """Refuse to change a model that all tenants share.

    Raises:
        Forbidden: it is one.
        NotFound: there is no such model.
    """
    if services().registry.owner(caller().tenant, name) != caller().tenant:
        raise Forbidden(f"model {name} is shared by all tenants; only tenant shared may change it")


def _removal() -> Removal:
    at = services()
    return Removal(at.registry, at.ledger, caller().tenant)


def _alias(name: str, alias: str) -> dict[str, Any]:
    registry = services().registry
    moves = registry.alias_history(registry.owner(caller().tenant, name), name, alias)
    return {
        "object": "alias",
        "name": name,
        "alias": alias,
        "version": moves[0].version,
        "history": [
            {"version": move.version, "at": move.at, "reason": move.reason} for move in moves
        ],
    }


def _public(name: str) -> dict[str, Any]:
    registry = services().registry
    owner = registry.owner(caller().tenant, name)
    return {
        "object": "model",
        "name": name,
        "shared": owner == SHARED_TENANT,
        "versions": [_version(one) for one in registry.versions(owner, name)],
        "aliases": registry.aliases(owner, name),
    }


def _version(one: ModelVersion) -> dict[str, Any]:
    return {
        "version": one.version,
        "created_at": one.created_at,
        "source": one.source,
        "bytes": one.bytes,
        "digest": one.digest,
        "facts": one.facts,
    }
