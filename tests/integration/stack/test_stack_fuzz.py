"""The API under calls made up from its own document: nothing undocumented, and nothing of another tenant.

``make fuzz`` does the same with thousands.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import Contract
from tests.fuzz.calls import make_calls
from tests.fuzz.tenants import ENDED, Owned, Strangers, client, new_key
from tests.integration.stack.running import RunningStack, wait_for


@pytest.fixture(scope="module")
def owned(stack: RunningStack, contract: Contract) -> Iterator[Owned]:
    """What a tenant has."""
    with client(stack, new_key(stack, "owner")) as http:
        found = Owned(http)
        found.fill()
        found.look(contract.document)
        yield found


def test_a_stranger_finds_nothing(stack: RunningStack, contract: Contract, owned: Owned) -> None:
    before = owned.state()
    with client(stack, new_key(stack, "stranger")) as http:
        strangers = Strangers(contract.document, owned, http)
        strangers.ask(8)
        strangers.search()
        strangers.refer()
    assert strangers.operations >= 17
    assert strangers.cases > 80
    assert owned.state() == before


def test_a_key_of_idempotency_is_the_tenants_own(stack: RunningStack, owned: Owned) -> None:
    spec = {"kind": "echo", "input": {"items": [{"text": "a"}]}}
    key = {"Idempotency-Key": owned.marker}
    mine = owned.http.post("/v1/jobs", json=spec, headers=key)
    with client(stack, new_key(stack, "stranger")) as http:
        others = http.post("/v1/jobs", json=spec, headers=key)
    assert (mine.status_code, others.status_code) == (201, 201)
    assert mine.json()["id"] != others.json()["id"]


@pytest.mark.timeout(400)
def test_made_up_calls_are_answered_as_documented(
    stack: RunningStack, contract: Contract, owned: Owned, tmp_path: Path
) -> None:
    """By the tenant that has things, which it may lose by it."""
    key = new_key(stack, "owner")
    calls = make_calls(
        contract.document, stack.client.url, key, tmp_path, examples=6, seed=1, seconds=45
    )
    assert calls.failures == 0, calls.text
    assert calls.cases >= 200
    assert calls.operations >= 26

    def ended() -> bool:
        page = owned.http.get("/v1/jobs", params={"limit": 100}).json()
        return all(job["status"] in ENDED for job in page["data"])

    wait_for(ended, 120)  # the other tests have the stack to themselves again
