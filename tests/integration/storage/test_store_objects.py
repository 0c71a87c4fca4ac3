"""The object store on a real S3 server: what each operation promises."""

from __future__ import annotations

import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO, cast

import pytest

from storage.objects import CHUNK_BYTES, PART_BYTES, ObjectChanged, ObjectMissing, ObjectStore


def pattern(size: int) -> bytes:
    """Bytes that differ everywhere, so that a shifted or repeated piece shows."""
    return b"".join(number.to_bytes(8, "big") for number in range(-(-size // 8)))[:size]


class Stream(io.RawIOBase):
    """Gives ``size`` bytes and never more than 100,000 at a time, as a socket does."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken = min(100_000, len(self._data) if size < 0 else size)
        piece, self._data = self._data[:taken], self._data[taken:]
        return bytes(piece)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES + 1, PART_BYTES + 1])
def test_what_was_put_is_got(store: ObjectStore, size: int) -> None:
    data = pattern(size)
    store.put("some/object", data)
    assert store.get("some/object") == data
    assert store.stat("some/object").size == size


def test_put_replaces(store: ObjectStore) -> None:
    store.put("a", b"one")
    before = store.stat("a").etag
    store.put("a", b"two")
    assert store.get("a") == b"two"
    assert store.stat("a").etag != before


def test_json(store: ObjectStore) -> None:
    store.put_json("a.json", {"text": "Grüße", "number": 1})
    assert store.get_json("a.json") == {"text": "Grüße", "number": 1}


def test_put_once_keeps_the_first(store: ObjectStore) -> None:
    assert store.put_once("a", b"one")
    assert not store.put_once("a", b"two")
    assert store.get("a") == b"one"
    store.delete("a")
    assert store.put_once("a", b"three")


def test_put_once_lets_exactly_one_of_many_win(store: ObjectStore) -> None:
    threads = 8
    gate = threading.Barrier(threads)

    def attempt(number: int) -> bool:
        gate.wait()
        return store.put_once("race", str(number).encode())

    with ThreadPoolExecutor(threads) as pool:
        won = list(pool.map(attempt, range(threads)))
    assert won.count(True) == 1
    assert store.get("race") == str(won.index(True)).encode()


@pytest.mark.parametrize("size", [0, PART_BYTES, PART_BYTES + 1])
def test_a_stream_of_unknown_length_is_stored_whole(store: ObjectStore, size: int) -> None:
    data = pattern(size)
    info = store.put_stream("big", cast(BinaryIO, Stream(data)), "text/plain")
    assert info.size == size
    digest = hashlib.sha256()
    for piece in store.stream("big"):
        assert len(piece) <= CHUNK_BYTES
        digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()


def test_a_stream_that_fails_leaves_nothing(store: ObjectStore) -> None:
    class Broken(Stream):
        def read(self, size: int = -1) -> bytes:
            piece = super().read(size)
            if not piece:
                raise RuntimeError("the sender went away")
            return piece

    with pytest.raises(RuntimeError, match="went away"):
        store.put_stream("big", cast(BinaryIO, Broken(pattern(PART_BYTES + 1))))
    assert not store.exists("big")


def test_ranges(store: ObjectStore) -> None:
    data = pattern(10_000)
    store.put("a", data)
    for offset, length in [(0, 1), (0, 0), (7, 3), (9_999, 1), (9_990, 100)]:
        got = b"".join(store.stream("a", offset=offset, length=length))
        assert got == data[offset : offset + length]
    assert b"".join(store.stream("a", offset=5_000)) == data[5_000:]


def test_a_pinned_etag_reads_only_that_version(store: ObjectStore) -> None:
    store.put("a", b"one")
    etag = store.stat("a").etag
    assert b"".join(store.stream("a", etag=etag)) == b"one"
    assert b"".join(store.stream("a", offset=1, length=1, etag=etag)) == b"n"
    store.put("a", b"two")
    with pytest.raises(ObjectChanged):
        list(store.stream("a", etag=etag))


def test_what_is_missing(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing):
        store.stat("missing")
    with pytest.raises(ObjectMissing):
        store.get("missing")
    with pytest.raises(ObjectMissing):
        list(store.stream("missing", etag="0" * 32))
    with pytest.raises(ObjectMissing):
        store.copy("missing", "target")
    assert not store.exists("missing")
    store.delete("missing")
    assert list(store.list("missing/")) == []


def test_a_bucket_that_is_missing(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing):
        store.in_bucket("no-such-bucket").get("a")


def test_copy(store: ObjectStore) -> None:
    store.put("a", b"data")
    store.copy("a", "b")
    store.delete("a")
    assert store.get("b") == b"data"


def test_parts_of_an_upload_become_one_object(store: ObjectStore) -> None:
    first, last = pattern(5 << 20), b"the end"
    upload = store.begin_upload("joined", "text/plain")
    etags = [
        store.upload_part("joined", upload, number, data)
        for number, data in enumerate((first, first, last), 1)
    ]
    # Whoever goes on after a death may write a part again.
    assert store.upload_part("joined", upload, 2, first) == etags[1]
    assert not store.exists("joined")
    store.complete_upload("joined", upload, etags)
    joined = hashlib.sha256(b"".join(store.stream("joined"))).digest()
    assert joined == hashlib.sha256(first + first + last).digest()
    with pytest.raises(ObjectMissing):
        store.upload_part("joined", upload, 4, last)


def test_a_version_is_replaced_once(store: ObjectStore) -> None:
    assert store.put_once("claim", b"one")
    data, etag = store.get_version("claim")
    assert data == b"one"
    store.replace("claim", b"two", etag)
    with pytest.raises(ObjectChanged):
        store.replace("claim", b"three", etag)
    assert store.get("claim") == b"two"
    with pytest.raises(ObjectChanged):
        store.replace("nothing", b"x", etag)
    with pytest.raises(ObjectMissing):
        store.get_version("nothing")


def test_an_upload_that_was_dropped_or_is_done_can_never_appear_again(store: ObjectStore) -> None:
    """What a day's folder rests on: whoever drops an upload, or deletes what came of it, is rid of it."""
    upload = store.begin_upload("day/part", "text/plain")
    etags, size = store.fill_upload("day/part", upload, io.BytesIO(b"late"))
    assert size == 4
    store.abort_upload("day/part", upload)
    with pytest.raises(ObjectMissing):
        store.complete_upload("day/part", upload, etags)
    upload = store.begin_upload("day/done", "text/plain")
    etags, size = store.fill_upload("day/done", upload, io.BytesIO(b"data"))
    store.complete_upload("day/done", upload, etags)
    with suppress(ObjectMissing):
        store.abort_upload("day/done", upload)
    assert store.get("day/done") == b"data"
    store.delete("day/done")
    with suppress(ObjectMissing):
        store.complete_upload("day/done", upload, etags)
    assert not list(store.list("day/"))


def test_an_empty_stream_fills_no_part(store: ObjectStore) -> None:
    upload = store.begin_upload("nothing", "text/plain")
    assert store.fill_upload("nothing", upload, io.BytesIO()) == ([], 0)
    store.abort_upload("nothing", upload)


def test_a_dropped_upload_leaves_nothing(store: ObjectStore) -> None:
    upload = store.begin_upload("dropped", "text/plain")
    etag = store.upload_part("dropped", upload, 1, b"data")
    store.abort_upload("dropped", upload)
    with pytest.raises(ObjectMissing):
        store.complete_upload("dropped", upload, [etag])
    assert not store.exists("dropped")


def test_listing(store: ObjectStore) -> None:
    for name in ("p/b", "p/a/2", "p/a/1", "p/c", "q"):
        store.put(name, b"12345")
    assert [info.name for info in store.list("p/")] == ["p/a/1", "p/a/2", "p/b", "p/c"]
    assert {info.name for info in store.list("p/", recursive=False)} == {"p/a/", "p/b", "p/c"}
    assert [info.name for info in store.list("p/", start_after="p/a/2")] == ["p/b", "p/c"]
    assert {info.size for info in store.list("p/")} == {5}
    assert next(store.list("q")).etag == store.stat("q").etag


def test_a_bucket_is_made_once(store: ObjectStore) -> None:
    store.ensure_bucket()
    store.put("a", b"data")
    store.ensure_bucket()
    assert store.get("a") == b"data"
    other = store.in_bucket(f"{store.bucket}-new")
    other.ensure_bucket()
    other.probe()
    assert list(other.list("")) == []
    other._client.remove_bucket(bucket_name=other.bucket)


def test_the_probe_leaves_nothing(store: ObjectStore) -> None:
    store.probe()
    assert list(store.list("")) == []
