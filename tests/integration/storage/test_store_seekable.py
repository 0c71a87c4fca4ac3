"""An object as a file that is read here and there."""

from __future__ import annotations

import io
import random

import pytest

from storage import seekable
from storage.objects import ObjectChanged, ObjectMissing, ObjectStore
from storage.seekable import BLOCK_BYTES, BLOCKS, SeekableObject

SIZE = 3 * BLOCK_BYTES + 12_345


@pytest.fixture
def data(store: ObjectStore) -> bytes:
    """An object of a little more than three blocks."""
    content = random.Random(1).randbytes(SIZE)
    store.put("a", content)
    return content


def opened(store: ObjectStore) -> SeekableObject:
    info = store.stat("a")
    return SeekableObject(store, "a", etag=info.etag, size=info.size)


class Counted(ObjectStore):
    """Notes what is asked for."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store._client, store.bucket)
        self.asked: list[tuple[int, int | None]] = []

    def stream(self, name, *, offset=0, length=None, etag=None):  # type: ignore[no-untyped-def]
        self.asked.append((offset, length))
        return super().stream(name, offset=offset, length=length, etag=etag)


def test_reading_anywhere(store: ObjectStore, data: bytes) -> None:
    file, same, source = opened(store), io.BytesIO(data), random.Random(2)
    for _ in range(60):
        at = source.choice([0, BLOCK_BYTES - 5, source.randrange(SIZE), SIZE - 3, SIZE, SIZE + 9])
        size = source.choice([0, 1, 10, 5000, BLOCK_BYTES, BLOCK_BYTES + 1, SIZE])
        assert file.seek(at) == same.seek(at)
        assert file.read(size) == same.read(size)
        assert file.tell() == same.tell()


def test_as_other_files(store: ObjectStore, data: bytes) -> None:
    file = opened(store)
    assert file.readable()
    assert file.seekable()
    assert not file.writable()
    assert file.read() == data
    assert file.read(1) == b""
    assert file.seek(-8, io.SEEK_END) == SIZE - 8
    assert file.seek(3, io.SEEK_CUR) == SIZE - 5
    assert file.read() == data[-5:]
    with pytest.raises(ValueError, match="before the object's first byte"):
        file.seek(-1)
    with pytest.raises(ValueError, match="whence 7"):
        file.seek(0, 7)


def test_small_reads_fetch_a_block_once(store: ObjectStore, data: bytes) -> None:
    counted = Counted(store)
    file = opened(counted)
    for at in (5, 100, BLOCK_BYTES - 1, 50):
        file.seek(at)
        assert file.read(1) == data[at : at + 1]
    assert counted.asked == [(0, BLOCK_BYTES)]
    file.seek(SIZE - 1)
    assert file.read(100) == data[-1:]
    assert counted.asked[1:] == [(3 * BLOCK_BYTES, 12_345)]


def test_a_large_read_is_one_request_and_is_not_kept(store: ObjectStore, data: bytes) -> None:
    counted = Counted(store)
    file = opened(counted)
    file.seek(7)
    assert file.read(2 * BLOCK_BYTES) == data[7 : 7 + 2 * BLOCK_BYTES]
    assert counted.asked == [(7, 2 * BLOCK_BYTES)]
    assert file._blocks == {}


def test_few_blocks_are_kept(
    store: ObjectStore, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seekable, "BLOCK_BYTES", 1000)
    counted = Counted(store)
    file = opened(counted)
    for number in range(BLOCKS + 5):
        file.seek(number * 1000)
        assert file.read(2) == data[number * 1000 :][:2]
        file.seek(0)
        assert file.read(2) == data[:2]  # the one in use stays
    assert len(counted.asked) == BLOCKS + 5
    assert len(file._blocks) == BLOCKS


def test_only_the_pinned_version_is_read(store: ObjectStore, data: bytes) -> None:
    file = opened(store)
    assert file.read(4) == data[:4]
    store.put("a", data[::-1])
    assert file.read(4) == data[4:8]  # of the block that is there
    file.seek(2 * BLOCK_BYTES)
    with pytest.raises(ObjectChanged):
        file.read(4)
    store.delete("a")
    with pytest.raises(ObjectMissing):
        file.read(4)
