"""Small objects are fetched ahead: in order, in bounded memory, and no longer than somebody reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from jobs.errors import Unavailable
from jobs.plan import Source
from storage.objects import ObjectMissing
from tests.unit.workers.memorystore import MemoryStore
from workers import fetching
from workers.fetching import MAX_AHEAD, MAX_AHEAD_BYTES, MAX_OBJECT_BYTES, THREADS, fetch_ahead

MIB = 1 << 20


def sources_of(store: MemoryStore, sizes: dict[str, int] | None = None) -> list[Source]:
    return [
        Source(
            bucket="corpora",
            key=name,
            name=name,
            etag=store.stat(name).etag,
            size=(sizes or {}).get(name, len(data)),
            format="jsonl",
        )
        for name, data in store.objects.items()
    ]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def has_asked(store: MemoryStore, count: int) -> bool:
    return len(store.asked) >= count


def threads() -> int:
    return sum(thread.name.startswith("fetch") for thread in threading.enumerate())


def test_they_come_in_order_whichever_arrives_first() -> None:
    store = MemoryStore({f"{n:03}": f"data {n}".encode() for n in range(600)})
    slow = threading.Event()

    def before(name: str) -> None:
        if name == "000":
            assert slow.wait(30)
        if name == f"{THREADS:03}":
            slow.set()

    store.before = before
    found = [fetch.result() for _, fetch in fetch_ahead(store, sources_of(store)) if fetch]
    assert found == list(store.objects.values())
    assert sorted(store.asked) == sorted(store.objects)
    wait_for(lambda: threads() == 0)


def test_large_ones_are_left_to_the_reader_and_small_ones_behind_them_still_come() -> None:
    store = MemoryStore({name: name.encode() for name in "abcd"})
    sizes = {"b": MAX_OBJECT_BYTES + 1, "c": MAX_OBJECT_BYTES}
    ahead = fetch_ahead(store, sources_of(store, sizes))
    found = [(source.key, fetch and fetch.result()) for source, fetch in ahead]
    assert found == [("a", b"a"), ("b", None), ("c", b"c"), ("d", b"d")]
    assert "b" not in store.asked


@pytest.mark.parametrize("size", [MIB, MIB // 2 + 1, 10])
def test_only_so_much_lies_ahead(size: int) -> None:
    store = MemoryStore({f"{n:03}": b"" for n in range(400)})
    sizes = dict.fromkeys(store.objects, size)
    most = min(MAX_AHEAD, MAX_AHEAD_BYTES // size)
    ahead = fetch_ahead(store, sources_of(store, sizes))
    for allowed in range(most, most + 3):
        next(ahead)
        wait_for(partial(has_asked, store, allowed))
        time.sleep(0.05)
        assert len(store.asked) == allowed
    ahead.close()


def test_what_fails_is_raised_where_it_is_read() -> None:
    store = MemoryStore({f"{n:03}": b"data" for n in range(50)})
    given = sources_of(store)
    del store.objects["007"]

    def before(name: str) -> None:
        if name == "020":
            raise Unavailable("away")

    store.before = before
    read = 0
    for source, fetch in fetch_ahead(store, given):
        assert fetch is not None
        if source.key == "007":
            with pytest.raises(ObjectMissing):
                fetch.result()
        elif source.key == "020":
            with pytest.raises(Unavailable):
                fetch.result()
        else:
            read += fetch.result() == b"data"
    assert read == 48


def test_nothing_is_fetched_for_a_reader_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "THREADS", 2)
    store = MemoryStore({f"{n:03}": b"data" for n in range(100)})
    held = threading.Event()

    def before(name: str) -> None:
        if name > "002":
            assert held.wait(30)

    store.before = before
    ahead = fetch_ahead(store, sources_of(store))
    next(ahead)
    wait_for(partial(has_asked, store, 5))
    ahead.close()
    held.set()
    wait_for(lambda: threads() == 0)
    assert len(store.asked) == 5


def test_one_object_needs_no_thread() -> None:
    store = MemoryStore({"a": b"data"})
    assert [fetch for _, fetch in fetch_ahead(store, sources_of(store))] == [None]
