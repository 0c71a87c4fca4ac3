"""The document is valid, and says of everything what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field

from api.links import links
from api.openapi import PATH_PARTS, TAGS
from api.operations import declared
from api.schemas.base import View, page_of
from jobs.errors import TextmillError
from jobs.params import parse_params
from jobs.spec import JobSpec
from nlp.kinds import BUILT_IN
from server.discovery import discover
from tests.unit.api.applications import application

Document = Mapping[str, Any]


def operations(openapi: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def resolved(openapi: Document, node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference stands for."""
    while "$ref" in node:
        target: Any = openapi
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def properties(node: object, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema and of what is inside it."""
    if isinstance(node, dict):
        found = node.get("properties")
        if isinstance(found, dict):
            yield from ((f"{path}.{name}", one) for name, one in found.items())
        for name, one in node.items():
            if name not in ("examples", "default", "enum"):
                yield from properties(one, path if name == "properties" else f"{path}.{name}")
    elif isinstance(node, list):
        for one in node:
            yield from properties(one, path)


def schemas(openapi: Document) -> Iterator[tuple[str, Any]]:
    """Every schema of the document, shared or not."""
    yield from openapi["components"]["schemas"].items()
    for name, operation in operations(openapi):
        contents = [one for one in (operation.get("requestBody"),) if one]
        contents += [resolved(openapi, one) for one in operation["responses"].values()]
        for content in contents:
            for media, one in content.get("content", {}).items():
                yield f"{name} {media}", one["schema"]


def test_it_is_valid(openapi: Document) -> None:
    assert openapi["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(dict(openapi)).iter_errors()] == []


def test_every_route_is_in_it(openapi: Document) -> None:
    """But for the page and the files that show it."""
    app = application()
    silent = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if declared(app.view_functions[rule.endpoint]) is None
    }
    assert silent == {
        *("/openapi.json", "/docs", "/docs/<name>"),
        *("/schedules", "/schedules/<name>"),
    }
    assert len(list(operations(openapi))) == sum(
        len((rule.methods or set()) & {"GET", "PUT", "POST", "PATCH", "DELETE"})
        for rule in app.url_map.iter_rules()
        if rule.rule not in silent
    )


def test_every_property_says_what_it_means(openapi: Document) -> None:
    silent = {
        path
        for name, schema in schemas(openapi)
        for path, one in properties(schema, name)
        if not str(one.get("description", "")).strip()
    }
    assert silent == set()


def test_every_parameter_says_what_it_means(openapi: Document) -> None:
    for name, operation in operations(openapi):
        for one in operation["parameters"]:
            assert one["description"].strip(), (name, one["name"])
            assert one["schema"], (name, one["name"])


def test_every_schema_and_header_says_what_it_is(openapi: Document) -> None:
    silent = [
        name
        for name, schema in openapi["components"]["schemas"].items()
        if not schema.get("description", "").strip()
    ]
    assert silent == []
    for name, operation in operations(openapi):
        for answer in operation["responses"].values():
            for header in resolved(openapi, answer)["headers"].values():
                assert resolved(openapi, header)["description"].strip(), name


def test_every_operation_says_what_it_does_and_is_called_once(openapi: Document) -> None:
    names = [operation["operationId"] for _, operation in operations(openapi)]
    assert len(names) == len(set(names))
    for name, operation in operations(openapi):
        assert operation["summary"].endswith("."), name
        assert set(operation["tags"]) <= set(TAGS), name


def test_every_operation_documents_its_problems(openapi: Document) -> None:
    for name, operation in operations(openapi):
        answers = operation["responses"]
        wanted = {"400", "422", "503"}
        if operation["security"]:
            wanted |= {"401", "403", "429"}
        if "{" in name:
            wanted |= {"404"}
        if "requestBody" in operation:
            wanted |= {"408", "413", "415"}
        assert wanted <= answers.keys(), name
        for status, answer in answers.items():
            content = resolved(openapi, answer).get("content", {})
            if status.startswith(("4", "5")) and name != "get /readyz":
                assert set(content) == {"application/problem+json"}, (name, status)
                schema = content["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}


def test_every_error_of_a_call_has_a_status_that_is_documented(openapi: Document) -> None:
    known = {int(name.removeprefix("Problem")) for name in openapi["components"]["responses"]}
    for error in TextmillError.__subclasses__():
        if error.__module__.startswith(("jobs", "api", "storage")):
            assert error.status in known, error


def test_whatever_a_call_takes_is_strict(openapi: Document) -> None:
    """Bodies refuse what they do not know; answers do not say that they never gain a field."""
    for name, operation in operations(openapi):
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            schema = content["schema"]
            for one in schema.get("oneOf", [schema]):
                found = resolved(openapi, one)
                if found["type"] == "object":
                    assert found["additionalProperties"] is False, (name, media)


def test_parameters_of_kinds_are_told_apart_by_kind(openapi: Document) -> None:
    content = openapi["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    mapping = schema["discriminator"]["mapping"]
    assert set(mapping) == set(discover())
    assert {one["$ref"] for one in schema["oneOf"]} == set(mapping.values())
    for kind, reference in mapping.items():
        job = resolved(openapi, {"$ref": reference})
        assert job["properties"]["kind"]["const"] == kind
        params = resolved(openapi, job["properties"]["params"])
        own = discover()[kind].Params.model_fields
        assert set(params["properties"]) == set(own)
        assert ("model" in job["required"]) is discover()[kind].needs_model


def test_every_built_in_kind_has_an_example_that_would_be_taken(openapi: Document) -> None:
    content = openapi["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert set(content["examples"]) >= {kind.name for kind in BUILT_IN}
    kinds = discover()
    for name, example in content["examples"].items():
        spec = JobSpec.model_validate_json(json.dumps(example["value"]))
        assert spec.kind == name
        parse_params(kinds[name], spec.params)


def test_parts_of_paths_have_examples_that_fit(openapi: Document) -> None:
    for name, operation in operations(openapi):
        for one in operation["parameters"]:
            if one["in"] == "path":
                example = one["schema"]["examples"][0]
                assert str(example) == PATH_PARTS[one["name"]][1], name


class _Part(View):
    object: str = Field(description="What.")


class _Job(BaseModel):
    id: str
    object: str


def test_what_was_made_leads_on(openapi: Document) -> None:
    answers = openapi["paths"]["/v1/jobs"]["post"]["responses"]
    link = answers["201"]["links"]["cancel_job"]
    assert link["operationId"] == "cancel_job"
    assert link["parameters"] == {"job_id": "$response.body#/id"}
    assert "get_file" not in answers["201"]["links"]
    assert "links" not in answers["200"]


def test_what_was_named_leads_on(openapi: Document) -> None:
    answer = openapi["paths"]["/v1/models/{name}/aliases/{alias}"]["put"]["responses"]["200"]
    link = answer["links"]["delete_alias"]
    assert link["parameters"] == {"alias": "$request.path.alias", "name": "$request.path.name"}
    assert "delete_version" not in answer["links"]


def test_listings_lead_on(openapi: Document) -> None:
    answer = openapi["paths"]["/v1/models"]["get"]["responses"]["200"]
    link = answer["links"]["get_model"]
    assert link["parameters"] == {"name": "$response.body#/data/0/name"}
    assert "set_alias" not in answer["links"]  # it takes an alias, too
    assert links(200, page_of(_Part), [("get_it", {"it_id"})]) == {}
    assert links(201, _Job, [("none", set())]) == {}
