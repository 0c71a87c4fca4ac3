"""Fixtures: a scripted server and a client that talks to it without long pauses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.client.either import Either
from tests.unit.client.scripted import JOB, KEY, KINDS, ScriptedServer, job, ranged, reply
from tests.unit.client.shell import ROWS, Shell, uploaded
from textmill import RetryPolicy, Textmill


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may depend on what this machine has configured."""
    monkeypatch.delenv("TEXTMILL_URL", raising=False)
    monkeypatch.delenv("TEXTMILL_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def tm(server: ScriptedServer) -> Iterator[Textmill]:
    quick = RetryPolicy(attempts=4, base_seconds=0.01, max_seconds=0.02, outage_seconds=5)
    with Textmill(server.url, KEY, timeout=5, retry=quick) as client:
        yield client


@pytest.fixture(params=["sync", "async"])
def either(server: ScriptedServer, request: pytest.FixtureRequest) -> Iterator[Either]:
    """Both clients by one test: what is asked of one must mean the same asked of the other."""
    with Either(server.url, is_async=request.param == "async") as client:
        yield client


@pytest.fixture
def textmill(server: ScriptedServer) -> Shell:
    server.on("GET", "/v1/kinds", reply(KINDS))
    server.on("POST", "/v1/jobs", reply(job("validating"), 201))
    server.on("POST", "/v1/files", uploaded)
    server.on("GET", f"{JOB}/results", ranged(ROWS))
    server.on("GET", f"{JOB}/errors", ranged(ROWS))
    server.on("GET", JOB, reply(job("completed")))
    return Shell(server)
