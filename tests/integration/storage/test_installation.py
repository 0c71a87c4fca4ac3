"""The first start on an empty bucket, the second start, and a Redis that does not belong to the bucket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from jobs.errors import Unavailable
from jobs.names import SYSTEM, JobNames
from storage.installation import Installation
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.set_up import set_up


def test_a_first_start_makes_bucket_and_ledger_whole(store: ObjectStore, ledger: Ledger) -> None:
    with pytest.raises(Unavailable):
        Installation.load(store)
    made = set_up(store, ledger)
    assert ledger.has_epoch()
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
    store.put(JobNames("default", "job_a").spec, b"{}")
    assert set_up(store, ledger) == first
    assert ledger.client.redis.get("ledger:epoch") == epoch


def test_two_installations_have_secrets_of_their_own(store: ObjectStore, ledger: Ledger) -> None:
    first = set_up(store, ledger)
    store.delete(SYSTEM)
    assert set_up(store, ledger) != first


def test_all_roles_may_start_at_once(store: ObjectStore, ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: set_up(store, ledger), range(4)))
    assert len(set(made)) == 1
    assert ledger.has_epoch()


def test_an_emptied_redis_beside_jobs_is_refused(store: ObjectStore, ledger: Ledger) -> None:
    set_up(store, ledger)
    store.put(JobNames("default", "job_a").spec, b"{}")
    ledger.client.redis.flushall()
    for _ in range(2):
        with pytest.raises(Unavailable, match="Redis"):
            set_up(store, ledger)
    assert not ledger.has_epoch()


def test_a_first_start_that_died_between_both_writes_is_finished(
    store: ObjectStore, ledger: Ledger
) -> None:
    secret = "ab" * 32
    store.put(SYSTEM, orjson.dumps({"format": 1, "idempotency_secret": secret}))
    assert set_up(store, ledger).idempotency_secret == bytes.fromhex(secret)
    assert ledger.has_epoch()


def test_a_redis_that_evicts_holds_no_ledger(store: ObjectStore, ledger: Ledger) -> None:
    ledger.client.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(Unavailable, match="allkeys-lru"):
            set_up(store, ledger)
    finally:
        ledger.client.redis.config_set("maxmemory-policy", "noeviction")
    assert not ledger.has_epoch()
    assert not store.exists(SYSTEM)
    set_up(store, ledger)
