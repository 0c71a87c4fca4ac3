"""A shard that is fetched ahead, and what becomes of it when it fails or is not needed."""

from __future__ import annotations

import threading

import pytest

from jobs.errors import Unavailable
from storage.objects import ObjectMissing
from tests.unit.workers.memorystore import MemoryStore
from workers.shards import Shards


class WholeObjects(MemoryStore):
    """Objects that are read at once."""

    def get(self, name: str) -> bytes:
        self.asked.append(name)
        self.before(name)
        if name not in self.objects:
            raise ObjectMissing(name)
        return self.objects[name]


@pytest.fixture
def store() -> MemoryStore:
    return WholeObjects({"a": b"1", "b": b"2"})


def test_a_shard_that_was_expected_is_read_once(store: MemoryStore) -> None:
    shards = Shards(store)
    assert shards.get("a") == b"1"
    shards.expect("b")
    shards.expect("b")
    assert shards.get("b") == b"2"
    assert store.asked == ["a", "b"]
    assert shards.get("b") == b"2", "it is not kept once it was taken"
    assert store.asked == ["a", "b", "b"]


def test_another_shard_than_the_expected_one_is_read_too(store: MemoryStore) -> None:
    shards = Shards(store)
    shards.expect("b")
    assert shards.get("a") == b"1"
    assert shards.get("b") == b"2"
    assert sorted(store.asked) == ["a", "b"]


def test_a_store_that_is_away_is_away_for_a_shard_that_was_expected_too(store: MemoryStore) -> None:
    shards, tries = Shards(store), []

    def away(name: str) -> None:
        tries.append(name)
        if len(tries) == 1:
            raise Unavailable("the store is away")

    store.before = away
    shards.expect("a")
    with pytest.raises(Unavailable):
        shards.get("a")
    assert shards.get("a") == b"1"


def test_a_shard_that_was_not_there_yet_is_asked_for_again(store: MemoryStore) -> None:
    shards, asked = Shards(store), threading.Event()

    def late(_name: str) -> None:
        if not asked.is_set():
            asked.set()
        else:
            store.objects["c"] = b"3"

    store.before = late
    shards.expect("c")
    assert shards.get("c") == b"3"
    shards.expect("nothing")
    with pytest.raises(ObjectMissing):
        shards.get("nothing")
