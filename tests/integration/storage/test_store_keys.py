"""API keys: who is let in, and that no key can be read anywhere."""

from __future__ import annotations

import pytest

from jobs.errors import NotFound, Unauthenticated, Unavailable
from jobs.ids import new_api_key
from jobs.settings import Settings
from storage.keys import KeyRing
from storage.ledger import Ledger
from storage.objects import ObjectStore
from tests.integration.storage.ledgerbench import make_whole


@pytest.fixture
def keys(store: ObjectStore, ledger: Ledger) -> KeyRing:
    make_whole(ledger)
    return KeyRing(store, ledger)


def test_a_key_opens_its_tenant(keys: KeyRing) -> None:
    record, key = keys.create("one", "laptop")
    other, other_key = keys.create("two", "laptop")
    assert keys.check(key) == record
    assert keys.check(other_key) == other
    assert (record.tenant, other.tenant, record.name) == ("one", "two", "laptop")


def test_a_revoked_key_is_worthless_at_once(keys: KeyRing) -> None:
    record, key = keys.create("default", "a")
    _, kept = keys.create("default", "b")
    revoked = keys.revoke("default", record.id)
    assert revoked.revoked_at is not None
    with pytest.raises(Unauthenticated):
        keys.check(key)
    keys.check(kept)
    assert keys.revoke("default", record.id) == revoked


def flipped(key: str) -> str:
    return key[:-1] + ("A" if key[-1] != "A" else "B")


def test_a_wrong_secret_is_refused(keys: KeyRing) -> None:
    record, key = keys.create("default", "a")
    _, unknown = new_api_key()
    _, other = keys.create("default", "b")
    mixed = f"tm_{record.id.removeprefix('key_')}_{other[-32:]}"
    messages = set()
    for wrong in (
        flipped(key),
        mixed,
        unknown,
        key + "x",
        key[:-1],
        "",
        "tm__",
        record.id,
        record.hash,
    ):
        with pytest.raises(Unauthenticated) as caught:
            keys.check(wrong)
        messages.add(str(caught.value))
    assert len(messages) == 1  # nothing says which part was wrong


def test_a_key_of_another_tenant_cannot_be_revoked(keys: KeyRing) -> None:
    record, key = keys.create("one", "a")
    for tenant, key_id in (("two", record.id), ("one", "key_" + "0" * 26), ("one", "../x")):
        with pytest.raises(NotFound):
            keys.revoke(tenant, key_id)
    assert keys.check(key) == record


def test_keys_are_listed_oldest_first_without_revealing_them(keys: KeyRing) -> None:
    made = [keys.create("default", str(number))[0] for number in range(3)]
    keys.create("other", "x")
    assert keys.list("default") == sorted(made, key=lambda record: record.id)


def test_no_key_is_kept_anywhere(keys: KeyRing, store: ObjectStore, ledger: Ledger) -> None:
    record, key = keys.create("default", "a")
    keys.check(key)
    keys.revoke("default", record.id)
    kept = [info.name + store.get(info.name).decode() for info in store.list("")]
    names = sorted(map(str, ledger.client.redis.scan_iter("*")))
    assert {ledger.client.redis.type(name) for name in names} == {"string"}
    kept += [name + str(ledger.client.redis.get(name)) for name in names]
    assert len(kept) == 5  # the object, two entries of the index, the copy and the epoch
    assert not any(key[-32:] in one for one in kept)
    assert sum(record.hash in one for one in kept) == 2


def test_a_ledger_without_an_epoch_cannot_say(keys: KeyRing, ledger: Ledger) -> None:
    _, key = keys.create("default", "a")
    ledger.client.redis.flushall()
    with pytest.raises(Unavailable):
        keys.check(key)


def test_a_change_that_the_store_did_not_take_is_not_in_the_ledger(
    keys: KeyRing, ledger: Ledger
) -> None:
    _, key = keys.create("default", "a")
    dead = Settings.from_environment({"TEXTMILL_S3_ENDPOINT": "http://127.0.0.1:1"})
    before = sorted(map(str, ledger.client.redis.scan_iter("*")))
    with pytest.raises(Unavailable):
        KeyRing(ObjectStore.connect(dead), ledger).create("default", "b")
    assert sorted(map(str, ledger.client.redis.scan_iter("*"))) == before
    keys.check(key)
