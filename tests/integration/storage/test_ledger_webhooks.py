"""When deliveries are due, and who attempts them."""

from __future__ import annotations

import dataclasses

import pytest

from jobs.errors import Unavailable
from jobs.states import Status
from storage.ledger import DueDelivery
from storage.ledger.scripts import LedgerClient
from storage.ledger.webhooks import WebhookTable
from tests.integration.storage.ledgerbench import START, TENANT, LedgerBench, new_job

LEASE = 1_000


def table(bench: LedgerBench) -> WebhookTable:
    return WebhookTable(bench.client, bench.now)


def claim(bench: LedgerBench, token: str, most: int = 4) -> DueDelivery | None:
    return table(bench).claim(token, lease_ms=LEASE, most=most)


def claimed(bench: LedgerBench, token: str, most: int = 4) -> str | None:
    found = claim(bench, token, most)
    return None if found is None else f"{found.tenant}/{found.id}"


@pytest.fixture
def due(bench: LedgerBench) -> LedgerBench:
    """A ledger in which a delivery is due."""
    assert table(bench).enter(TENANT, "job_a:1:completed")
    return bench


def test_a_delivery_is_attempted_by_one(due: LedgerBench) -> None:
    assert claimed(due, "first") == "default/job_a:1:completed"
    assert claimed(due, "second") is None
    assert claimed(due, "first") == "default/job_a:1:completed", "the answer may have been lost"


def test_an_attempt_that_never_ends_is_made_again(due: LedgerBench) -> None:
    lost = claim(due, "first")
    assert lost is not None
    due.now += LEASE - 1
    assert claim(due, "second") is None
    due.now += 1
    assert claimed(due, "second") == "default/job_a:1:completed"
    assert not table(due).settle(lost, None), "too late: another one decides"
    assert claimed(due, "third") is None


@pytest.mark.parametrize("pause", [None, 5_000])
def test_what_an_attempt_came_to(due: LedgerBench, pause: int | None) -> None:
    attempt = claim(due, "first")
    assert attempt is not None
    assert table(due).settle(attempt, pause)
    assert not table(due).settle(attempt, pause)
    due.now += 4_999
    assert claim(due, "second") is None
    due.now += 1
    assert (claim(due, "second") is None) == (pause is None)
    if pause is None:
        assert due.client.redis.keys("webhooks*") == []


def test_a_second_word_of_it_changes_nothing_unless_it_is_urgent(due: LedgerBench) -> None:
    attempt = claim(due, "first")
    assert attempt is not None
    assert not table(due).enter(TENANT, attempt.id)
    assert not table(due).enter(TENANT, attempt.id, hurry=True), "an attempt is under way"
    table(due).settle(attempt, 60_000)
    assert not table(due).enter(TENANT, attempt.id)
    assert claim(due, "second") is None
    assert table(due).enter(TENANT, attempt.id, hurry=True)
    assert claimed(due, "third") == "default/job_a:1:completed"


def test_tenants_take_turns_however_much_one_of_them_has(bench: LedgerBench) -> None:
    for number in range(50):
        table(bench).enter("big", f"job_{number:02d}:1:completed")
    bench.now += 10
    for tenant in ("small", "tiny"):
        table(bench).enter(tenant, "job_a:1:completed")
    bench.now += 10
    tenants = []
    for number in range(6):
        found = claim(bench, f"token-{number}")
        assert found is not None
        tenants.append(found.tenant)
        bench.now += 1
    assert tenants[:3] == ["big", "small", "tiny"]
    assert tenants[3:] == ["big"] * 3


def test_one_tenant_leaves_room_for_others(bench: LedgerBench) -> None:
    for number in range(5):
        table(bench).enter("big", f"job_{number}:1:completed")
    assert [claimed(bench, f"token-{number}", most=2) for number in range(3)][2] is None
    bench.now += 5
    table(bench).enter("small", "job_a:1:completed")
    assert claimed(bench, "token-4", most=2) == "small/job_a:1:completed"
    bench.now += LEASE
    assert claimed(bench, "token-5", most=2) is not None, "whoever died is not counted for ever"


def test_the_end_of_a_job_and_its_delivery_are_one(bench: LedgerBench) -> None:
    assert bench.jobs.enter(new_job())
    record = dataclasses.replace(bench.record(), status=Status.COMPLETED, ended_at=START)
    assert bench.jobs.finish(record, "job_a:1:completed")
    assert not bench.jobs.finish(record, "job_a:1:completed")
    ledger_of_its_own_time = WebhookTable(bench.client)
    found = ledger_of_its_own_time.claim("first", lease_ms=LEASE, most=4)
    assert found == DueDelivery(tenant=TENANT, id="job_a:1:completed", token="first")


def test_nothing_is_claimed_of_a_ledger_that_is_being_built(client: LedgerClient) -> None:
    made = WebhookTable(client, START)
    with pytest.raises(Unavailable):
        made.claim("first", lease_ms=LEASE, most=4)
    with pytest.raises(Unavailable):
        made.enter(TENANT, "job_a:1:completed")
    with pytest.raises(Unavailable):
        made.settle(DueDelivery(tenant=TENANT, id="job_a:1:completed", token="first"), None)
    client.redis.set("ledger:rebuild", "builder")
    assert made.enter(TENANT, "job_a:1:completed", restorer="builder")
