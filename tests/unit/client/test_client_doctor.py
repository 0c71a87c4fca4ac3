"""``doctor`` names what is wrong and how to mend it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.client.scripted import KEY, Answer, ScriptedServer, problem, reply
from tests.unit.client.shell import Shell, page


@pytest.fixture(autouse=True)
def _all_well(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", "/healthz", reply({"status": "ok", "checks": {}}))
    checks = {"redis": "ok", "store": {"status": "ok"}, "x": True}
    server.on("GET", "/readyz", reply({"status": "ok", "checks": checks}))
    server.on("GET", "/v1/jobs", reply(page()))
    workers = [{"id": "w", "device": "cpu"}]
    server.on("GET", "/v1/workers", reply({"data": workers}))


def report(
    textmill: Shell, *arguments: str, environ: Mapping[str, None] | None = None
) -> dict[str, Any]:
    people = textmill("doctor", *arguments, environ=environ)
    result = textmill("doctor", "--json", *arguments, environ=environ)
    report: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == people.exit_code == (0 if report["ok"] else 1)
    bad = [check for check in report["checks"] if not check["ok"]]
    assert all(check["fix"] for check in bad)
    assert ("✗" in people.stdout) == bool(bad)
    assert KEY not in people.stdout + result.stdout
    return {check["name"]: check["detail"] for check in bad}


def test_all_is_well(textmill: Shell) -> None:
    assert report(textmill) == {}


def test_no_configuration(textmill: Shell) -> None:
    bad = report(textmill, environ={"TEXTMILL_URL": None, "TEXTMILL_API_KEY": None})
    assert set(bad) == {"server URL", "API key"}


def test_a_bad_url(textmill: Shell) -> None:
    assert set(report(textmill, "--url", "localhost:1")) == {"configuration"}


def test_nobody_there(textmill: Shell) -> None:
    bad = report(textmill, "--url", "http://127.0.0.1:9")
    assert "cannot connect" in bad["server reachable"]


def test_another_server(server: ScriptedServer, textmill: Shell) -> None:
    html = Answer(body=b"<html>", headers={"Content-Type": "text/html"})
    server.on("GET", "/healthz", html)
    assert "is this a Textmill" in report(textmill)["server reachable"]


def test_something_down(server: ScriptedServer, textmill: Shell) -> None:
    checks = {"redis": "connection refused", "store": "ok"}
    server.on("GET", "/readyz", reply({"status": "unavailable", "checks": checks}, 503))
    assert report(textmill) == {"server: redis": "connection refused"}


def test_a_bad_key(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", "/v1/jobs", problem(401, "unauthenticated", "the key is not valid"))
    assert report(textmill) == {"API key accepted": "the key is not valid"}


def test_no_workers(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", "/v1/workers", reply({"data": []}))
    assert report(textmill) == {"workers alive": "none"}


def test_only_workers_that_plan(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", "/v1/workers", reply({"data": [{"id": "c", "role": "control"}]}))
    assert report(textmill) == {"workers alive": "none that computes, 1 worker of other roles"}
