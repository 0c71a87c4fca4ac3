"""When the embedded store is started anew after its disk was full, and what is mended before."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from server.seaweedfs import INDEX_ENTRY_BYTES, FullDisk, mend_indexes

MIB = 1 << 20


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the disk has left, to be set."""
    left = SimpleNamespace(free=1 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: left)
    return left


def test_it_is_said_once_and_when_there_is_room_again(
    free: SimpleNamespace, tmp_path: Path
) -> None:
    disk, said = FullDisk(tmp_path), []
    for mib in (1000, 20, 15, 0, 20, 63, 64, 1000, 20):
        free.free = mib * MIB
        said.append(disk())
    assert said == [None] * 6 + ["its disk was full", None, None]


def test_a_process_that_starts_with_room_again_is_left_alone(
    free: SimpleNamespace, tmp_path: Path
) -> None:
    disk = FullDisk(tmp_path)
    free.free = 0
    assert disk() is None
    free.free = 1000 * MIB
    disk.forget()
    assert disk() is None


def test_only_a_beginning_of_an_entry_is_cut_off(tmp_path: Path) -> None:
    whole = bytes(range(3 * INDEX_ENTRY_BYTES))
    torn = {"a_1.idx": 0, "a_2.idx": 1, "a_3.idx": INDEX_ENTRY_BYTES - 1}
    for name, excess in torn.items():
        (tmp_path / name).write_bytes(whole + b"x" * excess)
    (tmp_path / "a_1.dat").write_bytes(b"xyz")
    said = mend_indexes(tmp_path)
    assert said is not None
    assert [line.partition(":")[0] for line in said.splitlines()] == ["a_2.idx", "a_3.idx"]
    assert all((tmp_path / name).read_bytes() == whole for name in torn)
    assert (tmp_path / "a_1.dat").read_bytes() == b"xyz"
    assert mend_indexes(tmp_path) is None
