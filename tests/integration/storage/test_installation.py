"""The first start on an empty bucket, the second start, and a Redis that does not belong to the bucket."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from jobs.errors import Unavailable
from jobs.names import SYSTEM
from storage.installation import Installation
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.set_up import set_up


def test_a_first_start_makes_bucket_and_ledger_whole(store: ObjectStore, ledger: Ledger) -> None:
    with pytest.raises(Unavailable):
        Installation.load(store)
    made = set_up(store, ledger)
    assert ledger.epoch() is not None
    assert Installation.load(store) == made
    assert len(made.idempotency_secret) == 32


def test_a_bucket_is_made_where_there_is_none(store: ObjectStore, ledger: Ledger) -> None:
    other = store.in_bucket(f"{store.bucket}-new")
    set_up(other, ledger)
    other.delete(SYSTEM)
    other._client.remove_bucket(bucket_name=other.bucket)


def test_a_second_start_changes_nothing(store: ObjectStore, ledger: Ledger) -> None:
    first = set_up(store, ledger)
    epoch = ledger.client.redis.get("ledger:epoch")
    assert set_up(store, ledger) == first
    assert ledger.client.redis.get("ledger:epoch") == epoch


def test_two_installations_have_secrets_of_their_own(store: ObjectStore, ledger: Ledger) -> None:
    first = set_up(store, ledger)
    store.delete(SYSTEM)
    ledger.client.redis.flushall()
    second = set_up(store, ledger)
    assert second.idempotency_secret != first.idempotency_secret
    assert second.id != first.id


def test_all_roles_may_start_at_once(store: ObjectStore, ledger: Ledger) -> None:
    def start(_: int) -> Installation:
        while True:
            try:
                return set_up(store, ledger)
            except Unavailable:  # another one is at it
                time.sleep(0.01)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(start, range(4)))
    assert len(set(made)) == 1
    epoch = ledger.epoch()
    assert epoch is not None
    assert epoch.startswith(made[0].id + ".")


def test_the_ledger_of_another_installation_is_refused(store: ObjectStore, ledger: Ledger) -> None:
    set_up(store, ledger)
    epoch = ledger.epoch()
    store.delete(SYSTEM)
    with pytest.raises(Unavailable, match="another installation"):
        set_up(store, ledger)
    assert ledger.epoch() == epoch


def test_an_emptied_redis_beside_jobs_is_built_again(store: ObjectStore, ledger: Ledger) -> None:
    installation = set_up(store, ledger)
    before = ledger.epoch()
    ledger.client.redis.flushall()
    assert set_up(store, ledger) == installation
    after = ledger.epoch()
    assert before is not None
    assert after is not None
    assert before != after  # whoever remembers the old one knows that much may have been forgotten
    assert before.split(".")[0] == after.split(".")[0]


def test_a_first_start_that_died_between_both_writes_is_finished(
    store: ObjectStore, ledger: Ledger
) -> None:
    secret = "ab" * 32
    store.put(SYSTEM, orjson.dumps({"format": 1, "idempotency_secret": secret}))
    assert set_up(store, ledger).idempotency_secret == bytes.fromhex(secret)
    assert ledger.epoch() is not None


def test_a_redis_that_evicts_holds_no_ledger(store: ObjectStore, ledger: Ledger) -> None:
    ledger.client.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(Unavailable, match="allkeys-lru"):
            set_up(store, ledger)
    finally:
        ledger.client.redis.config_set("maxmemory-policy", "noeviction")
    assert ledger.epoch() is None
    assert not store.exists(SYSTEM)
    set_up(store, ledger)
