"""Two tenants side by side: neither sees, changes or uses anything of the other's, whichever way it asks."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.settings import Settings
from jobs.tenants import SHARED_TENANT
from server.connect import Connections
from storage.keys import KeyRing
from storage.registry import Registry
from storage.tenants import TenantTable
from tests.integration.stack.commands import server_command
from tests.integration.stack.dialogue import problem, submission
from tests.integration.stack.running import RunningStack, wait_for

#: Stands in everything that the first tenant has.
SECRET = "of-tenant-one"


@dataclass(frozen=True, kw_only=True)
class TenantClient:
    """A tenant with a key that may do everything."""

    name: str
    http: httpx.Client
    key: str
    key_id: str


@pytest.fixture(scope="module")
def connections(stack: RunningStack) -> Connections:
    return Connections.open(Settings.from_environment(stack.embedded.environment()))


@pytest.fixture(scope="module")
def tenants(stack: RunningStack, connections: Connections) -> Iterator[list[TenantClient]]:
    """Two tenants without limits."""
    ring = KeyRing(connections.store, connections.ledger)
    made: list[TenantClient] = []
    for number in range(2):
        name = f"t{number}-{secrets.token_hex(4)}"
        TenantTable(connections.store, connections.ledger).create(name)
        record, key = ring.create(name, f"{SECRET}-{number}")
        headers = {"Authorization": f"Bearer {key}"}
        http = httpx.Client(base_url=stack.client.url, headers=headers, trust_env=False, timeout=60)
        made.append(TenantClient(name=name, http=http, key=key, key_id=record.id))
    yield made
    for one in made:
        one.http.close()


@pytest.fixture(scope="module")
def one(tenants: list[TenantClient]) -> TenantClient:
    return tenants[0]


@pytest.fixture(scope="module")
def two(tenants: list[TenantClient]) -> TenantClient:
    return tenants[1]


def publish(
    connections: Connections, tenant: str, name: str, folder: Path, content: str = SECRET
) -> str:
    """Register a model of one small file; its version."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": content}))
    registry = Registry(connections.store)
    return registry.publish(tenant, name, folder, source=f"pkg:{SECRET}", facts={}).version


@pytest.fixture(scope="module")
def things(
    one: TenantClient, connections: Connections, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """One of each that the first tenant has, by what stands for it in a path."""
    body = submission(name=SECRET, input={"items": [{"text": SECRET}]})
    job = one.http.post("/v1/jobs", json=body).json()["id"]
    file = one.http.post(f"/v1/files?filename={SECRET}.jsonl", content=b'{"text": "a"}\n')
    version = publish(connections, one.name, "theirs", tmp_path_factory.mktemp("model"))
    alias = one.http.put("/v1/models/theirs/aliases/prod", json={"version": version})
    assert alias.status_code == 200, alias.text
    wait_for(lambda: one.http.get(f"/v1/jobs/{job}").json()["status"] == "completed", 120)
    return {
        "job_id": job,
        "file_id": file.json()["id"],
        "key_id": one.key_id,
        "name": "theirs",
        "version": version,
        "alias": "prod",
    }


def state(one: TenantClient, things: dict[str, str]) -> list[Any]:
    """What the first tenant sees of its things."""
    paths = [
        f"/v1/jobs/{things['job_id']}",
        f"/v1/jobs/{things['job_id']}/results",
        f"/v1/files/{things['file_id']}",
        "/v1/models/theirs",
    ]
    return [one.http.get(path).text for path in paths]


def test_every_route_is_closed_to_the_other(
    one: TenantClient, two: TenantClient, things: dict[str, str]
) -> None:
    before = state(one, things)
    assert all(SECRET in text for text in before)
    paths = two.http.get("/openapi.json").json()["paths"]
    asked = 0
    for path, methods in paths.items():
        parts = [part for part in path.split("/") if part.startswith("{")]
        if not parts:
            continue
        filled = path
        for part in parts:
            # What the first tenant has none of cannot be anybody's.
            filled = filled.replace(part, things.get(part.strip("{}"), "1"))
        for method, operation in methods.items():
            body = {"version": "latest"} if "requestBody" in operation else None
            answer = two.http.request(method.upper(), filled, json=body)
            assert answer.status_code in (403, 404, 415, 422), (method, filled, answer.text)
            if body is None:
                assert answer.status_code in (403, 404), (method, filled, answer.text)
            assert SECRET not in answer.text
            asked += 1
    assert asked >= 15
    assert state(one, things) == before
    assert one.http.get("/v1/keys").status_code == 200


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/files", "/v1/models", "/v1/keys", "/v1/audit"])
def test_listings_show_ones_own(
    one: TenantClient, two: TenantClient, things: dict[str, str], path: str
) -> None:
    answer = two.http.get(path)
    assert answer.status_code == 200
    assert SECRET + "-0" not in answer.text
    for thing in things.values():
        assert path == "/v1/models" or f'"{thing}"' not in answer.text
    own = one.http.get(path).json()["data"]
    assert own
    cursor = own[0].get("id") or own[0]["name"]
    beyond = two.http.get(path, params={"after": cursor})
    assert beyond.status_code in (200, 404)
    assert SECRET + "-0" not in beyond.text
    assert one.name not in beyond.text


def test_the_same_idempotency_key_names_two_jobs(one: TenantClient, two: TenantClient) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    made = [http.post("/v1/jobs", json=submission(), headers=key) for http in (one.http, two.http)]
    assert [answer.status_code for answer in made] == [201, 201]
    ids = [answer.json()["id"] for answer in made]
    assert ids[0] != ids[1]
    problem(two.http.get(f"/v1/jobs/{ids[0]}"), 404, "not_found")


def test_what_another_has_cannot_be_used(
    one: TenantClient, two: TenantClient, things: dict[str, str]
) -> None:
    file = submission(input={"file": things["file_id"]})
    problem(two.http.post("/v1/jobs", json=file), 422, "invalid_request", "input.file")
    for model in ("theirs", "registry:theirs@prod", f"registry:theirs@{things['version']}"):
        body = {"kind": "classify", "model": model, "input": {"items": [{"text": "a"}]}}
        problem(two.http.post("/v1/jobs", json=body), 422, "unknown_model", "model")
    for uri in ("s3://corpora/a.jsonl", f"s3://textmill/tenants/{one.name}/files/"):
        body = submission(input={"uri": uri})
        problem(two.http.post("/v1/jobs", json=body), 422, "invalid_request", "input.uri")


def test_prefixes_can_be_given_to_a_tenant(two: TenantClient, connections: Connections) -> None:
    table = TenantTable(connections.store, connections.ledger)
    table.change(two.name, s3_allowed_prefixes=("s3://corpora/two/",))
    good = two.http.post("/v1/jobs", json=submission(input={"uri": "s3://corpora/two/a.jsonl"}))
    assert good.status_code == 201
    bad = two.http.post("/v1/jobs", json=submission(input={"uri": "s3://corpora/one/a.jsonl"}))
    problem(bad, 422, "invalid_request", "input.uri")


# --- shared models ------------------------------------------------------------------------------------


def test_shared_models_can_be_read_and_not_changed(
    one: TenantClient, two: TenantClient, connections: Connections, tmp_path: Path
) -> None:
    name = f"common-{secrets.token_hex(4)}"
    version = publish(connections, SHARED_TENANT, name, tmp_path / "shared", "bert")
    shown = two.http.get(f"/v1/models/{name}").json()
    assert (shown["shared"], shown["aliases"]) == (True, {"latest": version})
    assert two.http.get(f"/v1/models/{name}/aliases/latest").json()["version"] == version
    listed = {model["name"]: model for model in two.http.get("/v1/models?limit=100").json()["data"]}
    assert listed[name]["shared"] is True
    alias = two.http.put(f"/v1/models/{name}/aliases/prod", json={"version": version})
    problem(alias, 403, "forbidden")
    for path in (f"/v1/models/{name}", f"/v1/models/{name}/versions/{version}"):
        problem(two.http.delete(path), 403, "forbidden")
    body = {"kind": "classify", "model": name, "input": {"items": [{"text": "a"}]}}
    model = two.http.post("/v1/jobs", json=body).json()["model"]
    assert (model["ref"], model["owner"]) == (f"registry:{name}@{version}", SHARED_TENANT)

    own = publish(connections, one.name, name, tmp_path / "own", "roberta")
    model = one.http.post("/v1/jobs", json=body).json()["model"]
    assert (model["ref"], model["owner"]) == (f"registry:{name}@{own}", one.name)
    assert one.http.get(f"/v1/models/{name}").json()["shared"] is False
    hidden = {**body, "model": f"{name}@{version}"}
    problem(one.http.post("/v1/jobs", json=hidden), 422, "unknown_model", "model")


# --- keys --------------------------------------------------------------------------------------------


def test_a_key_grants_no_more_than_it_has(one: TenantClient, stack: RunningStack) -> None:
    scopes = ["jobs:read", "keys:write"]
    made = one.http.post("/v1/keys", json={"name": "a", "scopes": scopes, "expires_in_days": 2})
    assert made.status_code == 201, made.text
    assert made.headers["Location"] == f"/v1/keys/{made.json()['id']}"
    record = {name: value for name, value in made.json().items() if name != "key"}
    assert (record["scopes"], record["created_by"]) == (scopes, one.key_id)
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    with httpx.Client(base_url=stack.client.url, headers=headers, trust_env=False) as small:
        problem(small.get("/v1/files"), 403, "forbidden")
        wider = small.post("/v1/keys", json={"name": "b", "scopes": ["jobs:read", "jobs:write"]})
        assert "jobs:write" in problem(wider, 403, "forbidden")["detail"]
        same = small.post("/v1/keys", json={"name": "b", "expires_in_days": 300})
        assert same.json()["scopes"] == scopes
        assert same.json()["expires_at"] <= record["expires_at"]
        problem(small.post("/v1/keys", json={"name": ""}), 422, "invalid_request", "name")
        problem(
            small.post("/v1/keys", json={"name": "x", "scopes": ["all"]}), 422, "invalid_request"
        )
        assert small.delete(f"/v1/keys/{record['id']}").json()["revoked_at"]
        problem(small.get("/v1/jobs"), 401, "unauthenticated")
    shown = one.http.get(f"/v1/keys/{record['id']}").json()
    assert shown["revoked_at"]
    assert made.json()["key"] not in one.http.get("/v1/keys").text
    first = one.http.get("/v1/keys?limit=1").json()
    assert first["has_more"]
    following = one.http.get("/v1/keys", params={"after": first["next_after"]}).json()["data"]
    assert first["data"][0]["id"] not in [key["id"] for key in following]
    problem(one.http.get("/v1/keys?after=nonsense"), 422, "invalid_request", "after")


# --- limits, usage, audit ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(stack: RunningStack) -> Iterator[httpx.Client]:
    """A tenant made on the command line, with limits that are used up at once."""
    name, at = f"small-{secrets.token_hex(4)}", ["--data-dir", str(stack.data_dir)]
    limits = ["bytes_stored=1000", "rows_queued=5", "write_rate=1000"]
    options = [part for one in limits for part in ("--limit", one)]
    server_command(stack, "tenants", "create", *at, name, *options)
    made = server_command(stack, "keys", "create", *at, "--tenant", name, "--name", "a")
    headers = {"Authorization": f"Bearer {made.stdout.strip()}", "X-Tenant": name}
    with httpx.Client(base_url=stack.client.url, headers=headers, trust_env=False) as http:
        yield http


def test_quotas_are_told_and_hold(small: httpx.Client) -> None:
    items = [{"text": "a"}] * 6
    answer = small.post("/v1/jobs", json=submission(input={"items": items}))
    problem(answer, 422, "invalid_request", "input.items")
    answer = small.post("/v1/files?filename=a.jsonl", content=b"x" * 1001)
    assert problem(answer, 429, "quota_exceeded", "bytes_stored")["errors"][0]["value"] == "1000"
    assert int(answer.headers["Retry-After"]) > 0

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b'{"text": "a"}\n' * 10

    answer = small.post("/v1/files?filename=a.jsonl", content=chunks())
    problem(answer, 429, "quota_exceeded", "bytes_stored")
    assert small.get("/v1/files").json()["data"] == []
    rows = b'{"text": "a"}\n' * 8
    file = small.post("/v1/files?filename=a.jsonl", content=rows).json()["id"]
    job = small.post("/v1/jobs", json=submission(input={"file": file})).json()["id"]
    wait_for(lambda: small.get(f"/v1/jobs/{job}").json()["status"] == "failed", 120)
    error = small.get(f"/v1/jobs/{job}").json()["error"]
    assert (error["code"], error["field"]) == ("rows_quota_exceeded", "input")
    quotas = {one["name"]: one for one in small.get("/v1/usage").json()["quotas"]}
    assert quotas["bytes_stored"]["limit"] == 1000
    assert quotas["bytes_stored"]["used"] >= len(rows)
    assert (quotas["jobs_unfinished"]["limit"], quotas["jobs_unfinished"]["left"]) == (None, None)


def test_rates_are_told_and_hold(small: httpx.Client, stack: RunningStack) -> None:
    at, name = ["--data-dir", str(stack.data_dir)], small.headers["X-Tenant"]
    server_command(stack, "tenants", "set", *at, name, "--limit", "read_rate=1")
    answers = [small.get("/v1/files") for _ in range(30)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    problem(refused[0], 429, "rate_limited")
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert small.post("/v1/jobs", json={}).status_code == 422  # has a rate of its own
    shown = json.loads(server_command(stack, "tenants", "show", *at, name).stdout)
    assert shown["limits_in_force"]["read_rate"] == 1
    server_command(stack, "tenants", "set", *at, name, "--limit", "read_rate=none")
    assert small.get("/v1/files").status_code == 200
    server_command(stack, "tenants", "disable", *at, name)
    problem(small.get("/v1/files"), 403, "forbidden")
    assert name in server_command(stack, "tenants", "list", *at).stdout
    bad = server_command(stack, "tenants", "set", *at, name, "--limit", "rows=1", expect=2)
    assert "rows_queued" in bad.stderr
    nobody = server_command(
        stack, "keys", "create", *at, "--tenant", "nobody", "--name", "a", expect=1
    )
    assert "no tenant nobody" in nobody.stderr


def test_usage_is_counted_by_day(
    one: TenantClient, two: TenantClient, things: dict[str, str], stack: RunningStack
) -> None:
    usage = one.http.get("/v1/usage").json()
    (today,) = usage["days"]
    assert today["rows"] >= 1
    assert today["requests"] >= 10
    assert today["bytes_uploaded"] == len(b'{"text": "a"}\n')
    assert usage["total"] == {name: value for name, value in today.items() if name != "day"}
    assert usage["tenant"] == one.name
    assert two.http.get("/v1/usage").json()["tenant"] == two.name
    at = ["--data-dir", str(stack.data_dir)]
    said = server_command(stack, "usage", *at, "--tenant", one.name, "--json").stdout
    assert json.loads(said)[0]["rows"] == today["rows"]
    for query in ("from=2026-13-01", "from=2026-11-02&to=2026-11-01", "from=1900-01-01", "first=1"):
        assert one.http.get(f"/v1/usage?{query}").status_code == 422


def test_changes_are_in_the_audit_log(
    one: TenantClient, things: dict[str, str], stack: RunningStack
) -> None:
    given = {"X-Request-Id": f"audit-{secrets.token_hex(4)}"}
    assert one.http.delete(f"/v1/jobs/{things['job_id']}", headers=given).status_code == 204
    (entry, *others) = one.http.get("/v1/audit?limit=100").json()["data"]
    assert (entry["action"], entry["subject"]) == ("job.delete", things["job_id"])
    assert (entry["key_id"], entry["request_id"]) == (one.key_id, given["X-Request-Id"])
    assert entry["address"] == "127.0.0.1"
    seen = {(other["action"], other["subject"]) for other in others}
    assert {
        ("job.submit", things["job_id"]),
        ("file.upload", things["file_id"]),
        ("alias.set", "theirs/prod"),
    } <= seen
    at = ["--data-dir", str(stack.data_dir)]
    said = server_command(stack, "audit", *at, "--tenant", one.name, "--json").stdout
    assert json.loads(said)[0]["subject"] == things["job_id"]
    assert one.key not in said
    problem(one.http.get("/v1/audit?after=x"), 422, "invalid_request", "after")
