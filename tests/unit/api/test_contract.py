"""What holds answers to the document notices every way in which one can differ."""

from __future__ import annotations

import copy
from typing import Any

import httpx
import pytest

from tests.contract import Contract

PROBLEM: dict[str, Any] = {
    "type": "urn:textmill:error:not_found",
    "title": "Not found",
    "status": 404,
    "code": "not_found",
    "detail": "no such job",
    "errors": [],
    "request_id": "a",
}
FILE: dict[str, Any] = {
    "object": "file",
    "id": "file_01k5b3w7m3v9q8z2c4x6t1n0ra",
    "filename": "a.csv",
    "bytes": 7,
    "sha256": "0" * 64,
    "created_at": "2026-11-02T22:00:00.000Z",
}


@pytest.fixture(scope="module")
def contract(openapi: dict[str, Any]) -> Contract:
    return Contract(openapi)


def answer(
    body: Any,
    status: int = 200,
    *,
    method: str = "GET",
    path: str = "/v1/files/x",
    media: str | None = None,
    request_id: str = "a",
) -> httpx.Response:
    usual = "application/json" if status < 300 else "application/problem+json"
    headers = {"Content-Type": media or usual, "X-Request-Id": request_id}
    request = httpx.Request(method, f"http://127.0.0.1{path}")
    return httpx.Response(status, json=body, headers=headers, request=request)


def test_what_is_documented_passes_and_is_remembered(contract: Contract) -> None:
    contract.check(answer(FILE))
    contract.check(answer(PROBLEM, 404))
    contract.check(
        answer(
            {**PROBLEM, "status": 405, "code": "method_not_allowed"},
            405,
            path="/healthz",
            method="POST",
        )
    )
    contract.check(answer(PROBLEM, 404, path="/nothing"))
    assert contract.seen["get_file"] == {200, 404}


@pytest.mark.parametrize(
    "wrong",
    [
        answer({**FILE, "more": 1}),
        answer({**FILE, "bytes": "7"}),
        answer({**FILE, "created_at": "yesterday"}),
        answer({name: value for name, value in FILE.items() if name != "sha256"}),
        answer({**FILE, "object": "job"}),
        answer(FILE, media="text/plain"),
        answer(FILE, 201),
        answer(PROBLEM, 409),
        answer(PROBLEM, 404, media="application/json"),
        answer({**PROBLEM, "more": 1}, 404),
        answer({**PROBLEM, "errors": [{"field": "a"}]}, 422),
        answer(FILE, request_id=""),
        answer({}, 500),
        answer(FILE, path="/nothing"),
        answer(FILE, method="PATCH"),
        answer({"detail": "no"}, 404, path="/nothing"),
    ],
    ids=range(16),
)
def test_what_is_not_documented_is_noticed(contract: Contract, wrong: httpx.Response) -> None:
    with pytest.raises(AssertionError):
        contract.check(wrong)


def test_the_longest_literal_path_is_meant(openapi: dict[str, Any]) -> None:
    changed = copy.deepcopy(openapi)
    changed["paths"]["/v1/files/mine"] = {}
    found = Contract(changed)
    assert found.path_of("/v1/files/mine") == "/v1/files/mine"
    assert found.path_of("/v1/files/other") == "/v1/files/{file_id}"
    assert found.path_of("/v1/files/a/b") is None
