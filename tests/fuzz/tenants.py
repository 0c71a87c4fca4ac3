"""Two tenants: whatever one asks of what is the other's, by whatever call, it is not there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.core.result import Ok

from jobs.settings import Settings
from server.connect import Connections
from storage.keys import KeyRing
from tests.fuzz.document import fuzzed
from tests.integration.stack.running import RunningStack, wait_for

ENDED = ("completed", "failed", "cancelled", "expired")


def new_key(stack: RunningStack, tenant: str) -> str:
    """A key of a tenant of its own."""
    connections = Connections.open(Settings.from_environment(stack.embedded.environment()))
    return KeyRing(connections.store, connections.ledger).create(tenant, "tests")[1]


def client(stack: RunningStack, key: str) -> httpx.Client:
    """Plain HTTP with a key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=stack.client.url, headers=headers, trust_env=False, timeout=60)


@dataclass
class Owned:
    """What a tenant has: ids by the parts of paths that they stand for, and a word that all of it holds."""

    http: httpx.Client
    marker: str = field(default_factory=lambda: f"marker{secrets.token_hex(8)}")
    parts: dict[str, str] = field(default_factory=dict)

    def fill(self) -> None:
        """A file, jobs of which one has ended, and a model with an alias."""
        word = self.marker
        upload = self.http.post(
            "/v1/files", params={"filename": f"{word}.jsonl"}, content=b'{"text": "a"}\n'
        )
        self.parts["file_id"] = upload.raise_for_status().json()["id"]
        params = {"output_name": word, "steps": 1}
        rows = {"items": [{"text": word}]}
        self._job(kind="sums", model="scratch:sums", params=params, input=rows)
        self.parts["job_id"] = self._job(
            kind="echo", name=word, input=rows, metadata={"word": word}
        )
        alias = f"/v1/models/{word}/aliases/prod"
        model = self.http.put(alias, json={"version": "latest"}).raise_for_status().json()
        version = model["versions"][0]["version"]
        self.parts |= {"name": word, "alias": "prod", "version": version}

    def _job(self, **spec: Any) -> str:
        made = self.http.post("/v1/jobs", json=spec).raise_for_status().json()
        path = f"/v1/jobs/{made['id']}"
        wait_for(lambda: self.http.get(path).json()["status"] in ENDED, 120)
        return str(made["id"])

    def look(self, document: Mapping[str, Any]) -> None:
        """Ids of all further sorts of things that its listings hold."""
        for path, methods in document["paths"].items():
            if "get" in methods and path.startswith("/v1/") and "{" not in path:
                page = self.http.get(path).json()
                for item in page.get("data", []) if isinstance(page, dict) else []:
                    if "id" in item and "object" in item:
                        self.parts.setdefault(f"{item['object']}_id", item["id"])

    def state(self) -> dict[str, Any]:
        """All of it, as its owner sees it."""
        parts = self.parts
        shown = [
            f"/v1/jobs/{parts['job_id']}",
            f"/v1/jobs/{parts['job_id']}/results",
            f"/v1/files/{parts['file_id']}",
            f"/v1/files/{parts['file_id']}/content",
            f"/v1/models/{parts['name']}",
            f"/v1/models/{parts['name']}/aliases/prod",
        ]
        return {path: self.http.get(path).raise_for_status().content for path in shown}


@dataclass
class Strangers:
    """Calls of one tenant for what is another's.

    Args:
        document: what the API says of itself.
        owned: what the other has.
        http: with a key of the tenant that has nothing.
    """

    document: Mapping[str, Any]
    owned: Owned
    http: httpx.Client
    cases: int = 0
    operations: int = 0

    def ask(self, examples: int) -> None:
        """Ask for it by every operation that names a thing, so many times each.

        Raises:
            AssertionError: something was answered otherwise than with 404 or 403.
        """
        schema = schemathesis.openapi.from_dict(fuzzed(self.document))
        # That no string holds this character is said in words, not in every schema.
        schema.config.generation.update(allow_x00=False)
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            if "{" not in operation.path:
                continue
            parts = dict(self._parts(operation.path, operation.method))
            self.operations += 1

            @given(case=operation.as_strategy(path_parameters=parts))
            @settings(
                max_examples=examples,
                database=None,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def call(case: Case[Any]) -> None:
                self._call(case)

            call()

    def _parts(self, path: str, method: str) -> Iterator[tuple[str, str]]:
        """The other's ids; the documented example of whatever it has none of."""
        for one in self.document["paths"][path][method]["parameters"]:
            if one["in"] == "path":
                example = one["schema"]["examples"][0]
                yield one["name"], self.owned.parts.get(one["name"], example)

    def _call(self, case: Case[Any]) -> None:
        request = case.as_transport_kwargs(base_url=str(self.http.base_url).rstrip("/"))
        headers = {
            name: value
            for name, value in dict(request.get("headers") or {}).items()
            if name.lower() not in ("authorization", "x-schemathesis-testcaseid")
        }
        content = request.get("data")
        made = self.http.build_request(
            request["method"],
            request["url"],
            params=request.get("params") or None,
            json=request.get("json"),
            files=request.get("files"),
            content=content if isinstance(content, bytes | str) else None,
            headers=headers,
        )
        self.cases += 1
        reply = self.http.send(made)
        where = f"{made.method} {made.url} {made.content!r}: {reply.status_code} {reply.text}"
        assert reply.status_code in (403, 404), where

    def search(self) -> None:
        """Look for it in every listing, also from the other's ids on.

        Raises:
            AssertionError: a word of it was found.
        """
        for path, methods in self.document["paths"].items():
            operation = methods.get("get")
            if operation is None or "{" in path:
                continue
            names = {one["name"] for one in operation["parameters"]}
            queries: list[dict[str, str]] = [{}]
            if "after" in names:
                queries += [{"after": one} for one in (*self.owned.parts.values(), "0", "zzzz")]
            for query in queries:
                reply = self.http.get(path, params=query)
                assert reply.status_code in (200, 403, 404, 422), (path, reply.text)
                if reply.status_code == 200:
                    self._check_nothing(reply)
                self.cases += 1

    def _check_nothing(self, reply: httpx.Response) -> None:
        for one in (self.owned.marker, self.owned.parts["job_id"], self.owned.parts["file_id"]):
            assert one not in reply.text, f"{reply.request.url} holds {one}"

    def refer(self) -> None:
        """Name it in submissions: the answer is as for what nobody has.

        Raises:
            AssertionError: it is another one.
        """
        other = f"file_{'0' * 26}"
        rows = {"items": [{"text": "a"}]}
        sums = {"kind": "sums", "model": "scratch:sums", "input": rows}
        parts = self.owned.parts
        pairs = [
            ({"kind": "echo", "input": {"file": one}} for one in (parts["file_id"], other)),
            (
                {**sums, "params": {"output_name": "x", "validation": one}}
                for one in (parts["file_id"], other)
            ),
            (
                {"kind": "classify", "model": f"registry:{one}@latest", "input": rows}
                for one in (parts["name"], "n" * len(parts["name"]))
            ),
        ]
        for pair in pairs:
            mine, nobodys = (self.http.post("/v1/jobs", json=spec) for spec in pair)
            assert (mine.status_code, mine.json()["type"]) == (422, nobodys.json()["type"])
            told = [one.json()["detail"] for one in (mine, nobodys)]
            assert told[0].replace(parts["name"], "n" * len(parts["name"])) == told[1]
            self.cases += 2
