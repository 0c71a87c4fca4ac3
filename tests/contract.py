"""Holds answers of a running API to its own OpenAPI document: status, type of content, shape, headers.

Stricter than a client may be: a field that the document does not know is a fault.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import jsonschema_rs

PROBLEM = "application/problem+json"


class Contract:
    """What the document promises, and which of it was seen.

    Args:
        document: as ``/openapi.json`` gives it.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        #: Ids of operations, with the statuses that they were seen to answer with.
        self.seen: dict[str, set[int]] = {}
        self._components = closed(document["components"])
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        # Paths without parts come first: they are meant where both would fit.
        self._paths = [
            (re.compile(re.sub(r"\\{[a-z_]+\\}", "[^/]+", re.escape(path))), path)
            for path in sorted(document["paths"], key=lambda path: (path.count("{"), path))
        ]

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Method, path and declaration of each operation."""
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                yield method, path, operation

    def path_of(self, path: str) -> str | None:
        """The documented path that a request's path belongs to."""
        return next((known for pattern, known in self._paths if pattern.fullmatch(path)), None)

    def check(self, response: httpx.Response) -> None:
        """Fail where an answer is not as documented. Reads its body where that is JSON."""
        request = response.request
        raw = request.url.raw_path.partition(b"?")[0].decode("latin-1")
        media = response.headers.get("Content-Type", "").partition(";")[0]
        where = f"{request.method} {raw}: {response.status_code} {media}"
        assert response.headers.get("X-Request-Id"), where
        if media in ("application/json", PROBLEM) and request.method != "HEAD":
            response.read()
        path = self.path_of(raw)
        method = request.method.lower()
        operation = self.document["paths"][path].get(method) if path is not None else None
        if operation is None:
            self._check_unknown(response, where, known_path=path is not None)
            return
        if response.status_code == 500:  # documented for none, since it may happen to all
            self._check_schema(response, {"$ref": "#/components/schemas/Problem"}, where)
            return
        documented = operation["responses"].get(str(response.status_code))
        assert documented is not None, f"{where} is not a documented status"
        self.seen.setdefault(operation["operationId"], set()).add(response.status_code)
        self._check_answer(response, self._resolved(documented), media, where)

    def _check_unknown(self, response: httpx.Response, where: str, *, known_path: bool) -> None:
        """What is no operation is refused by a problem document, or is HEAD, OPTIONS or a page."""
        method, path = response.request.method, response.request.url.path
        if method in ("HEAD", "OPTIONS") or path.startswith(
            ("/docs", "/openapi.json", "/schedules")
        ):
            return
        expected = (405,) if known_path else (404, 405)
        assert response.status_code in expected, f"{where} should be one of {expected}"
        self._check_schema(response, {"$ref": "#/components/schemas/Problem"}, where)

    def _check_answer(
        self, response: httpx.Response, documented: Mapping[str, Any], media: str, where: str
    ) -> None:
        for name, header in documented.get("headers", {}).items():
            required = self._resolved(header).get("required", False)
            assert name in response.headers or not required, f"{where} lacks {name}"
        content = {
            name.partition(";")[0]: one for name, one in documented.get("content", {}).items()
        }
        if not content:
            assert not media or response.headers.get("Content-Length", "0") == "0", where
            return
        assert media in content, f"{where} has a type that is not documented"
        if media in ("application/json", PROBLEM):
            self._check_schema(response, content[media]["schema"], where)

    def _check_schema(
        self, response: httpx.Response, schema: Mapping[str, Any], where: str
    ) -> None:
        key = str(schema)
        validator = self._validators.get(key)
        if validator is None:
            whole = {**schema, "components": self._components}
            validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
            self._validators[key] = validator
        faults = [
            f"{'/'.join(map(str, fault.instance_path))}: {fault.message}"
            for fault in validator.iter_errors(response.json())
        ]
        assert faults == [], f"{where}: {faults}"

    def _resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in node:
            target: Any = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node


def closed(components: Mapping[str, Any]) -> dict[str, Any]:
    """The same with objects that have no fields beside those that are named, unless they say otherwise."""
    closed = copy.deepcopy(dict(components))
    for schema in closed["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return closed
