"""The OpenAPI 3.1 document, made of what the routes declare of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from api.bodies import ENCODINGS, MAX_DEPTH
from api.links import links
from api.operations import Answer, HeaderField, Operation, declared
from api.schemas.problems import Problem
from api.submissions import submission_examples, submission_models
from jobs.ids import ID_PATTERN, is_id
from jobs.kinds import KindRegistry
from jobs.names import MODEL_NAME_PATTERN
from jobs.spec import JobSpec

#: The methods that are documented; Flask adds the others by itself.
_METHODS = ("get", "put", "post", "patch", "delete")

#: What the parts of paths stand for: description and example.
PATH_PARTS: Mapping[str, tuple[str, str]] = {
    "job_id": ("Id of a job.", "job_01k5b3w7m3v9q8z2c4x6t1n0ra"),
    "file_id": ("Id of a file.", "file_01k5b3w7m3v9q8z2c4x6t1n0ra"),
    "upload_id": ("Id of an upload.", "upload_01k5b3w7m3v9q8z2c4x6t1n0ra"),
    "number": ("Number of a part, from 1.", "1"),
    "schedule_id": ("Id of a schedule.", "schedule_01k5b3w7m3v9q8z2c4x6t1n0ra"),
    "key_id": ("Id of an API key.", "key_01k5b3w7m3v9q8z2c4x6t1n0ra"),
    "delivery_id": ("Id of a delivery.", "job_01k5b3w7m3v9q8z2c4x6t1n0ra:1:completed"),
    "name": ("Name of a model.", "tickets"),
    "version": ("Version of a model.", "1"),
    "alias": ("Alias of a model.", "prod"),
}

TAGS: Mapping[str, str] = {
    "jobs": "Submit bulk jobs, follow them, fetch what they made.",
    "schedules": "Submit jobs by the clock.",
    "files": "Upload what jobs read.",
    "models": "The registry: models, versions and aliases.",
    "keys": "API keys of the caller's tenant, and its audit log.",
    "system": "Kinds of task, workers, usage, health.",
}

_DESCRIPTION = """\
Bulk NLP jobs on your own devices: submit rows, poll, fetch each row exactly once.

Every call but the health checks needs `Authorization: Bearer <key>`. Errors are problem documents (RFC 9457); their
`type` never changes for one kind of error. Calls answered 429 or 503 may be sent again after `Retry-After` seconds, and
a submission with an `Idempotency-Key` may be sent again at any time: it gives the same job. Unknown fields and
parameters are refused. Answers may gain fields; clients must ignore those they do not know.

Each answer has an `X-Request-Id`: the one that the request came with (1 to 128 letters, digits and `._:-`), or a new
one. Problem documents and the server's log lines have it too.
"""

#: What is taken as a JSON body, said of each that is.
_STRICT = f"""\
JSON in UTF-8, nested at most {MAX_DEPTH} levels deep, without a name twice in one object. It may be compressed:
`Content-Encoding: {"` or `".join(ENCODINGS)}`; the server's limit of its size holds for what is sent and for what comes
out alike.
"""

_REQUEST_ID = {
    "description": "Names the request, as it came or new.",
    "schema": {"type": "string", "examples": ["0f8c2b1e7d3a4956"]},
}

#: What problem documents of a status mean, where the status alone does not tell.
_PROBLEMS: Mapping[int, str] = {
    400: "The body or the request is malformed.",
    401: "There is no API key, or it is not valid.",
    403: "The API key may not do this.",
    404: "There is no such thing for this tenant.",
    408: "The body came too slowly.",
    409: "The state of the thing does not allow this.",
    411: "The body's length was not said beforehand.",
    413: "The body is too large.",
    415: "The body's type or encoding is none that is taken.",
    416: "The range lies outside of what there is.",
    422: "A field or a parameter is wrong; `errors` says which and what was expected.",
    429: "Too many requests, or a quota is used up; `Retry-After` says when to come again.",
    503: "Redis or the object store cannot be used now; nothing was changed.",
}


def document(app: Flask, kinds: KindRegistry, version: str) -> dict[str, Any]:
    """The document, as JSON values."""
    operations = list(_operations(app))
    schemas = _Schemas([(found.name, rule.arguments) for rule, _, found, _ in operations])
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, found, view in operations:
        path = re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", rule.rule)
        paths.setdefault(path, {})[method] = _operation(rule, found, view, kinds, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Textmill",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas.definitions(),
            "headers": {"RequestId": _REQUEST_ID},
            "responses": schemas.problems(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, `tm_…`."}
            },
        },
    }


class _Schemas:
    """The models that the document refers to, each under its own name.

    Args:
        routes: each operation's id with the names of the parts of its path.
    """

    def __init__(self, routes: list[tuple[str, set[str]]]) -> None:
        self.routes = routes
        self._models: dict[str, type[BaseModel]] = {}
        self._problems: set[int] = set()

    def reference(self, model: type[BaseModel]) -> dict[str, Any]:
        """What stands for a model where it is used."""
        known = self._models.setdefault(model.__name__, model)
        if known is not model:
            raise ValueError(f"two models are called {model.__name__}")
        return {"$ref": f"#/components/schemas/{model.__name__}"}

    def problem(self, status: int) -> dict[str, Any]:
        """What stands for the problem documents of a status."""
        self.reference(Problem)
        self._problems.add(status)
        return {"$ref": f"#/components/responses/Problem{status}"}

    def problems(self) -> dict[str, Any]:
        """All of these."""
        return {
            f"Problem{status}": _problem(status, self.reference(Problem))
            for status in sorted(self._problems)
        }

    def definitions(self) -> dict[str, Any]:
        """All of them, and those that they refer to."""
        models = [self._models[name] for name in sorted(self._models)]
        _, made = models_json_schema(
            [(model, "validation") for model in models],
            ref_template="#/components/schemas/{model}",
        )
        return dict(made["$defs"])


def _operations(app: Flask) -> Iterator[tuple[Rule, str, Operation, Any]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        found = declared(view)
        if found is None:
            continue
        for method in _METHODS:
            if method.upper() in (rule.methods or ()):
                yield rule, method, found, view


def _operation(
    rule: Rule, found: Operation, view: Any, kinds: KindRegistry, schemas: _Schemas
) -> dict[str, Any]:
    summary, _, rest = (view.__doc__ or "").strip().partition("\n")
    rest = re.sub(r"\n\s*Raises:.*", "", rest, flags=re.DOTALL)
    description = "\n".join(line.strip() for line in rest.strip().splitlines())
    scope = f"Needs the scope `{found.scope}`." if found.scope else ""
    made: dict[str, Any] = {
        "operationId": found.name,
        "tags": [found.tag],
        "summary": summary.replace("`", ""),  # which is shown as it is
        "description": "\n\n".join(filter(None, [description, scope])),
        "parameters": [
            *(_path_part(name) for name in sorted(rule.arguments)),
            *_query(found),
            *(_header(one) for one in found.headers),
        ],
        "responses": _responses(rule, found, schemas),
        "security": [{"key": []}] if found.scope else [],
    }
    content = _body(found, kinds, schemas)
    if content:
        made["requestBody"] = {"required": found.body_required, "content": content}
    if found.body is not None:
        made["requestBody"]["description"] = _STRICT
    return made


def _path_part(name: str) -> dict[str, Any]:
    description, example = PATH_PARTS[name]
    schema: dict[str, Any] = {"type": "string", "minLength": 1, "examples": [example]}
    thing, _, suffix = name.rpartition("_")
    if suffix == "id" and is_id(example, thing):
        schema["pattern"] = rf"^{thing}_{ID_PATTERN}$"
    if name in ("name", "alias", "version"):
        schema["pattern"] = MODEL_NAME_PATTERN
    if name == "number":
        schema = {"type": "integer", "minimum": 1, "maximum": 10_000, "examples": [int(example)]}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
    }


def _query(found: Operation) -> Iterator[dict[str, Any]]:
    if found.query is None:
        return
    schema = found.query.model_json_schema()
    definitions = schema.get("$defs", {})
    for name, given in schema["properties"].items():
        plain = {key: value for key, value in given.items() if key not in ("title", "description")}
        yield {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": given["description"],
            "schema": _not_null(plain, definitions),
        }


def _not_null(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema: one that may be left out is never null, for a query has no word for it."""
    choices = [one for one in schema.pop("anyOf", [{}]) if one.get("type") != "null"]
    merged = {**choices[0], **schema}
    if merged.get("default", 0) is None:
        del merged["default"]
    reference = merged.pop("$ref", None)
    if reference is not None:
        merged = {**definitions[reference.rpartition("/")[2]], **merged}
        merged.pop("title", None)
        merged.pop("description", None)
    return merged


def _header(one: HeaderField) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "examples": [one.example]}
    if one.pattern is not None:
        schema["pattern"] = one.pattern
    return {
        "name": one.name,
        "in": "header",
        "required": one.required,
        "description": one.description,
        "schema": schema,
    }


def _body(found: Operation, kinds: KindRegistry, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if found.body is JobSpec:
        content["application/json"] = {
            "schema": _submission(kinds, schemas),
            "examples": submission_examples(kinds),
        }
    elif found.body is not None:
        content["application/json"] = {"schema": schemas.reference(found.body)}
    return content | {media: {"schema": schema} for media, schema in found.media.items()}


def _submission(kinds: KindRegistry, schemas: _Schemas) -> dict[str, Any]:
    """One shape for each kind, told apart by ``kind``, so that parameters are documented and typed."""
    references = {name: schemas.reference(one) for name, one in submission_models(kinds).items()}
    return {
        "oneOf": list(references.values()),
        "discriminator": {
            "propertyName": "kind",
            "mapping": {name: one["$ref"] for name, one in references.items()},
        },
    }


def _responses(rule: Rule, found: Operation, schemas: _Schemas) -> dict[str, Any]:
    named = rule.arguments if "PUT" in (rule.methods or ()) else set()
    responses = {
        str(status): _answer(status, one, schemas, named) for status, one in found.answers.items()
    }
    for status in sorted(_statuses(rule, found)):
        if str(status) not in responses:
            responses[str(status)] = schemas.problem(status)
    return responses


def _statuses(rule: Rule, found: Operation) -> set[int]:
    """Statuses of the problem documents that a route may answer with."""
    statuses = {400, 422, 503, *found.problems}
    if found.scope is not None:
        statuses |= {401, 403, 429}
    if rule.arguments:
        statuses.add(404)
    if found.body is not None or found.media:
        statuses |= {408, 413, 415}
    if any(one.name == "Range" for one in found.headers):
        statuses.add(416)
    return statuses


def _problem(status: int, schema: dict[str, Any]) -> dict[str, Any]:
    again = {"Retry-After": "Seconds after which to try again."} if status in (429, 503) else {}
    return {
        "description": _PROBLEMS.get(status, HTTPStatus(status).phrase),
        "content": {"application/problem+json": {"schema": schema}},
        "headers": _header_fields(again),
    }


def _answer(status: int, answer: Answer, schemas: _Schemas, named: set[str]) -> dict[str, Any]:
    content: dict[str, Any] = {media: {"schema": one} for media, one in answer.media.items()}
    if answer.model is not None:
        content["application/json"] = {"schema": schemas.reference(answer.model)}
    made: dict[str, Any] = {
        "description": answer.description,
        "headers": _header_fields(answer.headers),
    }
    if content:
        made["content"] = content
    if answer.model is not None and (found := links(status, answer.model, schemas.routes, named)):
        made["links"] = found
    return made


def _header_fields(headers: Mapping[str, str]) -> dict[str, Any]:
    own = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }
    return own | {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
