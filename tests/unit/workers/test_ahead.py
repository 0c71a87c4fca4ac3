"""What is begun while the device computes, and what becomes of it when it fails or is not needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from jobs.errors import Unavailable
from jobs.kinds import Kind, RunContext
from jobs.rows import BadRow, Outcome, Row, RowFailure
from storage.objects import ObjectMissing
from tests.unit.workers.memorystore import MemoryStore
from workers.ahead import Readiness, Shards

A, B = Row(0, "a"), Row(1, "b")


class Plain(Kind):
    """Makes nothing ready."""

    name: ClassVar[str] = "plain"

    def run(
        self, model: Any, state: Any, rows: Sequence[Row], params: Any, context: RunContext
    ) -> list[Outcome]:
        raise NotImplementedError


class Quick(Plain):
    """Could."""

    def ahead(self, model: Any, state: Any, rows: Sequence[Row], params: Any) -> Any:
        return list(rows)


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


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def test_a_shard_that_was_expected_is_read_once(store: MemoryStore) -> None:
    shards = Shards(store)
    assert shards.get("a") == b"1"
    shards.expect("b")
    shards.expect("b")
    assert (shards.get("b"), shards.hits) == (b"2", 1)
    assert store.asked == ["a", "b"]
    assert shards.get("b") == b"2", "it is not kept once it was taken"
    assert store.asked == ["a", "b", "b"]


def test_another_shard_than_the_expected_one_is_read_too(store: MemoryStore) -> None:
    shards = Shards(store)
    shards.expect("b")
    assert shards.get("a") == b"1"
    assert (shards.get("b"), shards.hits) == (b"2", 1)
    assert sorted(store.asked) == ["a", "b"]


def test_a_shard_that_could_not_be_read_ahead_is_read_when_it_is_asked_for(
    store: MemoryStore,
) -> None:
    shards = Shards(store)
    first = threading.Event()

    def away(_name: str) -> None:
        if not first.is_set():
            first.set()
            raise Unavailable("the store is away")

    store.before = away
    shards.expect("a")
    assert (shards.get("a"), shards.hits) == (b"1", 0)
    shards.expect("nothing")
    with pytest.raises(ObjectMissing):
        shards.get("nothing")


def test_rows_are_made_ready_in_another_thread(pool: ThreadPoolExecutor) -> None:
    threads = []

    def make(rows: list[Row]) -> list[str]:
        threads.append(threading.current_thread())
        return [row.text for row in rows]

    with Readiness(Quick(), make, pool) as ready:
        assert ready.useful
        assert ready.take() is None
        ready.begin([A, b"{}", BadRow(2, RowFailure("x", "y"), "f", 1), B])
        assert ready.take() == ["a", "b"]
        assert ready.take() is None
        ready.begin([b"{}"])
        assert ready.take() is None, "there was nothing to make ready"
    assert threads != [threading.current_thread()]
    assert not Readiness(Plain(), make, pool).useful


def test_what_fails_ahead_is_left_to_the_run(pool: ThreadPoolExecutor) -> None:
    def make(_rows: list[Row]) -> Any:
        raise ZeroDivisionError

    with Readiness(Quick(), make, pool) as ready:
        ready.begin([A])
        assert ready.take() is None


def test_nothing_goes_on_once_the_range_is_left(pool: ThreadPoolExecutor) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def make(_rows: list[Row]) -> None:
        begun.set()
        go_on.wait(10)
        done.set()

    def leave() -> None:
        with Readiness(Quick(), make, pool) as ready:
            ready.begin([A])
            assert begun.wait(10)
            threading.Timer(0.1, go_on.set).start()

    leave()
    assert done.is_set()
