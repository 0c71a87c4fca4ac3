"""Tenants' records, and what letting calls in goes by: keys that end, tenants that are disabled, rates."""

from __future__ import annotations

import hmac
import time
from types import SimpleNamespace
from typing import Any

import pytest
from redis.connection import AbstractConnection

from jobs.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from jobs.ids import new_api_key
from jobs.names import TenantNames
from jobs.scopes import Scope
from jobs.settings import Settings
from storage.broker import Broker
from storage.intents import IntentIndex
from storage.keys import ApiKey, KeyRing
from storage.ledger import Ledger
from storage.ledger.admission import BURST_SECONDS
from storage.ledger.scripts import LedgerClient
from storage.objects import ObjectStore
from storage.rebuild import rebuild
from storage.replay import Replay
from storage.tenants import TenantTable, allowed_prefixes
from tests.integration.storage.ledgerbench import LEASE_MS, make_whole, new_job


@pytest.fixture
def tenants(store: ObjectStore, ledger: Ledger) -> TenantTable:
    make_whole(ledger)
    return TenantTable(store, ledger)


@pytest.fixture
def keys(tenants: TenantTable, store: ObjectStore, ledger: Ledger) -> KeyRing:
    return KeyRing(store, ledger)


# --- records -----------------------------------------------------------------------------------------


def test_a_record_is_an_object_and_then_an_entry(
    tenants: TenantTable, store: ObjectStore, ledger: Ledger
) -> None:
    made = tenants.create("acme", limits={"rows_queued": 5, "read_rate": None})
    assert (tenants.get("acme"), ledger.accounts.find("acme")) == (made, made)
    assert store.exists(TenantNames("acme").record)
    with pytest.raises(Conflict):
        tenants.create("acme")
    for name in ("", "Acme", "a/b", "..", "a" * 64):
        with pytest.raises(InvalidRequest):
            tenants.create(name)
    with pytest.raises(NotFound):
        tenants.get("nobody")
    assert tenants.get("default").limits == {}
    assert [one.name for one in tenants.list()] == ["acme"]


def test_own_limits_go_before_those_of_the_settings(
    tenants: TenantTable, settings: Settings, ledger: Ledger
) -> None:
    configured = settings.model_copy(update={"quota_rows_queued": 100, "read_rate": 7.5})
    other = Ledger(ledger.client, LEASE_MS, limits=configured.limits)
    other.accounts.publish_defaults()
    tenants.create("acme", limits={"rows_queued": 5, "read_rate": None})
    tenants.change("acme", limits={"jobs_unfinished": 0})
    found = ledger.accounts.limits("acme")
    assert (found.rows_queued, found.read_rate, found.jobs_unfinished) == (5, None, 0)
    assert tenants.get("acme").limits_in_force(configured.limits) == found
    tenants.change("acme", forget=frozenset({"rows_queued", "read_rate"}))
    assert ledger.accounts.limits("acme").rows_queued == 100
    assert ledger.accounts.limits("nobody").read_rate == 7.5


def test_prefixes_are_the_tenants_own(tenants: TenantTable, ledger: Ledger) -> None:
    configured = ("s3://corpora/",)
    assert allowed_prefixes(ledger, "default", configured) == configured
    assert allowed_prefixes(ledger, "acme", configured) == ()
    tenants.create("acme", s3_allowed_prefixes=("s3://acme/in/",))
    tenants.create("default", s3_allowed_prefixes=())
    assert allowed_prefixes(ledger, "acme", configured) == ("s3://acme/in/",)
    assert allowed_prefixes(ledger, "default", configured) == ()


def test_a_rebuild_brings_tenants_and_keys_back(
    tenants: TenantTable, keys: KeyRing, store: ObjectStore, ledger: Ledger
) -> None:
    tenants.create("acme", limits={"read_rate": 3})
    tenants.disable("acme")
    _, dead = keys.create("acme", "a")
    _, short = keys.create("other", "b", expires_at=ledger.now() + 1)
    _, good = keys.create("other", "c", scopes=frozenset({Scope.JOBS_READ}))
    ledger.client.redis.flushall()
    with pytest.raises(Unavailable):
        keys.check(good)
    rebuild(store, ledger, "bench")
    assert ledger.accounts.limits("acme").read_rate == 3
    assert keys.check(good).scopes == {Scope.JOBS_READ}
    with pytest.raises(Forbidden):
        keys.check(dead)
    with pytest.raises(Unauthenticated):
        keys.check(short)


def test_what_the_ledger_forgot_of_a_tenant_is_entered_again(
    tenants: TenantTable, store: ObjectStore, ledger: Ledger, broker: Broker
) -> None:
    tenants.create("acme")
    tenants.disable("acme")
    ledger.client.redis.delete("tenant:acme")
    replay = Replay(store, ledger, broker)
    assert replay.replay(IntentIndex(store).since(0)) == 1
    assert ledger.accounts.find("acme") == tenants.get("acme")
    assert replay.replay(IntentIndex(store).since(0)) == 0


# --- keys -------------------------------------------------------------------------------------------


def test_a_key_ends_by_itself(keys: KeyRing, ledger: Ledger) -> None:
    record, key = keys.create("default", "a", expires_at=ledger.now() + 1_000)
    assert record.expires_at is not None
    assert keys.check(key) == record
    while ledger.now() < record.expires_at:
        time.sleep(0.05)
    with pytest.raises(Unauthenticated):
        keys.check(key)


def test_a_revoked_key_is_worthless_in_a_process_that_knew_it(
    keys: KeyRing, store: ObjectStore, ledger: Ledger
) -> None:
    record, key = keys.create("default", "a")
    elsewhere = KeyRing(store, ledger)
    for write in (False, True):
        assert elsewhere.admit(key, write=write).key == record
    keys.revoke("default", record.id)
    for write in (False, True):
        with pytest.raises(Unauthenticated):
            elsewhere.admit(key, write=write)


def test_a_disabled_tenant_is_let_in_nowhere(tenants: TenantTable, keys: KeyRing) -> None:
    tenants.create("acme")
    _, key = keys.create("acme", "a")
    keys.admit(key, write=False)
    tenants.disable("acme")
    with pytest.raises(Forbidden):
        keys.admit(key, write=False)
    with pytest.raises(Unauthenticated):  # whoever has no key learns nothing of the tenant
        keys.admit(key[:-1] + ("A" if key[-1] != "A" else "B"), write=False)
    tenants.enable("acme")
    keys.admit(key, write=False)


def test_unknown_keys_are_compared_all_the_same(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, known = keys.create("default", "a")
    compared: list[tuple[int, int]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("storage.keys.hmac", SimpleNamespace(compare_digest=compare))
    for key in (known, new_api_key()[1], "nonsense", ""):
        try:
            keys.check(key)
        except Unauthenticated:
            continue
    assert compared == [(64, 64)] * 4


def test_last_use_is_noted_once_a_minute(keys: KeyRing, store: ObjectStore, ledger: Ledger) -> None:
    record, key = keys.create("default", "a")
    assert keys.last_used([record]) == {}
    began = ledger.now()
    for ring in (keys, KeyRing(store, ledger)):
        for _ in range(20):
            ring.admit(key, write=False)
    give_up = time.monotonic() + 30
    while not keys.last_used([record]) and time.monotonic() < give_up:
        time.sleep(0.02)
    noted = keys.last_used([record])[record.id]
    assert began <= noted <= ledger.now()
    ledger.admission.key_used(record.id)
    assert keys.last_used([record]) == {record.id: noted}


def test_records_of_keys_say_nothing_that_opens_anything(keys: KeyRing) -> None:
    record, key = keys.create("default", "a")
    shown = str(record.public(5))
    assert key not in shown
    assert record.hash not in shown
    assert ApiKey.from_json(record.to_json()) == record


# --- letting in -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"read_rate": 1000}])
def test_a_call_is_let_in_in_one_round_trip(
    tenants: TenantTable,
    keys: KeyRing,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, float | None],
) -> None:
    tenants.create("acme", limits=limits)
    record, key = keys.create("acme", "a")
    keys.admit(key, write=False)  # which loads the scripts, and notes the use of the key
    ledger.jobs.enter(new_job("job_a", tenant="acme"))
    give_up = time.monotonic() + 30
    while not keys.last_used([record]) and time.monotonic() < give_up:
        time.sleep(0.02)
    sent: list[int] = []
    send: Any = AbstractConnection.send_packed_command

    def counted(self: AbstractConnection, *given: Any, **named: Any) -> Any:
        sent.append(1)
        return send(self, *given, **named)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)
    assert keys.admit(key, write=False, job_id="job_a").job["id"] == "job_a"
    assert len(sent) == 1


def test_a_job_of_another_tenant_is_none(keys: KeyRing, ledger: Ledger) -> None:
    _, key = keys.create("one", "a")
    ledger.jobs.enter(new_job("job_a", tenant="two"))
    ledger.jobs.enter(new_job("job_b", tenant="one"))
    assert keys.admit(key, write=False, job_id="job_a").job == {}
    assert keys.admit(key, write=False, job_id="job_b").job["tenant"] == "one"


def test_a_rate_lets_a_burst_in_and_then_its_share(client: LedgerClient) -> None:
    ledger = Ledger(client, LEASE_MS, 1_000_000)
    make_whole(ledger)
    let_in = [ledger.admission.charge("acme", "read_rate", 2.0) for _ in range(30)]
    burst = 2 * BURST_SECONDS
    assert let_in[:burst] == [0] * burst
    assert all(0 < wait <= 500 for wait in let_in[burst:])
    assert ledger.admission.charge("acme", "write_rate", 2.0) == 0
    assert ledger.admission.charge("other", "read_rate", 2.0) == 0
    later = Ledger(client, LEASE_MS, 1_000_000 + let_in[-1])
    assert later.admission.charge("acme", "read_rate", 2.0) == 0
    assert later.admission.charge("acme", "read_rate", 2.0) > 0
    assert ledger.admission.charge("rare", "read_rate", 0.001) == 0
    assert 0 < ledger.admission.charge("rare", "read_rate", 0.001) <= 1_000_000


def test_over_the_rate_a_call_is_told_when_to_come_again(
    tenants: TenantTable, keys: KeyRing
) -> None:
    tenants.create("acme", limits={"read_rate": 1})
    _, key = keys.create("acme", "a")
    _, second = keys.create("acme", "b")
    refused: list[RateLimited] = []
    for number in range(2 * BURST_SECONDS + 2):
        try:
            keys.admit((key, second)[number % 2], write=False)
        except RateLimited as error:
            refused.append(error)
    assert BURST_SECONDS - 1 <= len(refused) <= BURST_SECONDS + 2
    assert all(error.retry_after is not None and error.retry_after >= 1 for error in refused)
    keys.admit(key, write=True)  # has a rate of its own, which is none
    tenants.change("acme", limits={"read_rate": None})
    keys.admit(key, write=False)


def test_wrong_keys_use_up_nobodys_rate(tenants: TenantTable, keys: KeyRing) -> None:
    tenants.create("acme", limits={"read_rate": 1})
    _, key = keys.create("acme", "a")
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    for _ in range(4 * BURST_SECONDS):
        with pytest.raises(Unauthenticated):
            keys.admit(wrong, write=False)
    for _ in range(BURST_SECONDS):
        keys.admit(key, write=False)


def test_reading_goes_on_while_redis_takes_no_writes(
    tenants: TenantTable, keys: KeyRing, ledger: Ledger
) -> None:
    tenants.create("acme", limits={"read_rate": 1})
    _, key = keys.create("acme", "a")
    keys.admit(key, write=False)
    redis = ledger.client.redis
    redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(Unavailable):
            ledger.admission.charge("acme", "read_rate", 1.0)
        for _ in range(3 * BURST_SECONDS):
            keys.admit(key, write=False)
    finally:
        redis.config_set("min-replicas-to-write", 0)
