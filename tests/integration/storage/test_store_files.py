"""Uploaded files."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO, cast

import pytest

from jobs.errors import InvalidRequest, NotFound, TooLarge
from jobs.ids import new_id
from jobs.names import TenantNames
from storage.files import FileTable
from storage.objects import PART_BYTES, ObjectStore

LIMIT = 1 << 30


@pytest.fixture
def files(store: ObjectStore) -> FileTable:
    return FileTable(store)


def upload(files: FileTable, data: bytes = b"data", tenant: str = "default") -> str:
    return files.upload(tenant, "a.jsonl", io.BytesIO(data), LIMIT).id


@pytest.mark.parametrize("size", [1, 1000, PART_BYTES + 1])
def test_a_file_comes_back(files: FileTable, size: int) -> None:
    data = b"0123456789" * (size // 10) + b"x" * (size % 10)
    record = files.upload("default", "Berichte 1.jsonl", io.BytesIO(data), LIMIT)
    assert files.get("default", record.id) == record
    assert (record.filename, record.bytes) == ("Berichte 1.jsonl", size)
    assert record.sha256 == hashlib.sha256(data).hexdigest()
    assert b"".join(files.content("default", record.id)) == data
    assert b"".join(files.content("default", record.id, offset=size // 2)) == data[size // 2 :]
    public = record.public()
    assert (public["object"], public["id"], public["bytes"]) == ("file", record.id, size)


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("limit", [10, PART_BYTES + 10])
def test_the_limit(files: FileTable, store: ObjectStore, limit: int, over: int) -> None:
    data = io.BytesIO(bytes(limit + over))
    if not over:
        assert files.upload("default", "a.txt", data, limit).bytes == limit
        return
    with pytest.raises(TooLarge, match=f"{limit} bytes"):
        files.upload("default", "a.txt", data, limit)
    assert list(store.list("")) == []


def test_an_endless_upload_is_stopped_soon_behind_the_limit(files: FileTable) -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            self.taken += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(TooLarge):
        files.upload("default", "a.txt", cast(BinaryIO, endless), 1000)
    assert endless.taken <= 2 * PART_BYTES


def test_an_empty_file_is_refused_and_leaves_nothing(files: FileTable, store: ObjectStore) -> None:
    with pytest.raises(InvalidRequest) as caught:
        files.upload("default", "a.txt", io.BytesIO(), LIMIT)
    assert [field.field for field in caught.value.fields] == ["file"]
    assert list(store.list("")) == []


def test_a_file_without_its_record_does_not_exist(files: FileTable, store: ObjectStore) -> None:
    kept, half = upload(files), new_id("file")
    store.put(TenantNames("default").file_content(half), b"data")
    with pytest.raises(NotFound):
        files.get("default", half)
    found, more = files.page("default", after=None, limit=10)
    assert ([record.id for record in found], more) == ([kept], False)


@pytest.mark.parametrize(
    "file_id", ["", "file_x", "../keys", "job_" + "0" * 26, "file_" + "0" * 26]
)
def test_what_is_no_file(files: FileTable, file_id: str) -> None:
    with pytest.raises(NotFound):
        files.get("default", file_id)
    with pytest.raises(NotFound):
        files.delete("default", file_id)


def test_a_tenant_sees_no_file_of_another(files: FileTable) -> None:
    mine, theirs = upload(files, tenant="one"), upload(files, tenant="two")
    with pytest.raises(NotFound):
        files.get("one", theirs)
    with pytest.raises(NotFound):
        files.delete("one", theirs)
    assert [record.id for record in files.page("one", after=None, limit=10)[0]] == [mine]
    assert files.get("two", theirs).id == theirs
    assert files.page("three", after=None, limit=10) == ([], False)


def test_pages_are_newest_first(files: FileTable) -> None:
    ids = sorted((upload(files) for _ in range(5)), reverse=True)
    seen: list[str] = []
    more = True
    while more:
        page, more = files.page("default", after=seen[-1] if seen else None, limit=2)
        assert len(page) == 2 or not more
        seen += [record.id for record in page]
    assert seen == ids


def test_a_deleted_file_is_gone(files: FileTable, store: ObjectStore) -> None:
    file_id = upload(files)
    files.delete("default", file_id)
    with pytest.raises(NotFound):
        files.get("default", file_id)
    with pytest.raises(NotFound):
        files.delete("default", file_id)
    assert list(store.list("")) == []
