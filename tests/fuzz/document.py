"""The OpenAPI document as it is fuzzed: strict about answers, and without what would stop a stack that tests share."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tests.contract import closed

#: Parameters of ``echo`` that hurt nobody; the others kill, stall or write where they are told to.
_HARMLESS = {"upper", "evaluate", "fail_on", "gold_field", "precision", "engine"}

#: Inline rows as ``echo`` takes them, so that a good part of the submissions becomes jobs.
_ROWS = {
    "type": "object",
    "description": "Inline rows.",
    "properties": {
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": 5,
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string", "minLength": 1}},
                "required": ["text"],
            },
        }
    },
    "required": ["items"],
    "additionalProperties": False,
}


def fuzzed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document for a stack whose kinds include those of ``tests/plugins``."""
    made = copy.deepcopy(dict(document))
    made["components"] = closed(made["components"])
    schemas = made["components"]["schemas"]
    params = schemas["EchoParams"]["properties"]
    schemas["EchoParams"]["properties"] = {name: params[name] for name in _HARMLESS}
    schemas["EchoJob"]["properties"]["input"] = _ROWS
    body = made["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    # A training of this kind takes as long as it is told to.
    body["schema"]["discriminator"]["mapping"].pop("sums", None)
    body["examples"].pop("sums", None)
    body["schema"]["oneOf"] = [
        {"$ref": reference} for reference in body["schema"]["discriminator"]["mapping"].values()
    ]
    upload = made["paths"]["/v1/files"]["post"]
    # Without presign a body is the file's bytes, whatever type it says it has.
    del upload["requestBody"]["content"]["application/json"]
    upload["parameters"] = [one for one in upload["parameters"] if one["name"] != "presign"]
    for path in [path for path, methods in made["paths"].items() if _left_out(path, methods)]:
        del made["paths"][path]
    _drop_links(made)
    return made


def _left_out(path: str, methods: Mapping[str, Any]) -> bool:
    """Streams that end with the job only; and what would make the very key worthless that all calls are made with."""
    answer = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    return "text/event-stream" in answer or "{key_id}" in path


def _drop_links(document: dict[str, Any]) -> None:
    """Drop links to what was left out."""
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    known = {one["operationId"] for one in operations}
    for operation in operations:
        for answer in operation["responses"].values():
            links = answer.get("links", {})
            for name in [name for name, one in links.items() if one["operationId"] not in known]:
                del links[name]
