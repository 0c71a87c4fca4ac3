"""What stays on a host's disk when there is room for less."""

from __future__ import annotations

import errno
import gc
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from jobs.errors import Unavailable
from workers.disk_cache import DiskCache
from workers.model_files import once

SIZE = 1000

#: A file's own time may be too coarse to tell who was first.
CLOCK = count(1_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def finder(root: Path, name: str, size: int = SIZE) -> Callable[[], Path]:
    """Fetches a model of so many bytes unless it is there."""

    def fetch(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"x" * size)

    return lambda: once(root / "registry" / name, fetch)


def use(cache: DiskCache, root: Path, name: str) -> Path:
    """Have a model at hand, later than whatever was before."""
    path = cache.held(finder(root, name))
    lock = root / ".locks" / f"registry-{name}"
    os.utime(lock, (next(CLOCK),) * 2)
    return path


def on_disk(root: Path) -> set[str]:
    return {path.name for path in (root / "registry").iterdir()}


def test_those_used_longest_ago_go_first(root: Path) -> None:
    cache = DiskCache(root, 3 * SIZE)
    for name in ("a", "b", "c", "a", "d"):
        use(cache, root, name)
        cache.taken()
    assert on_disk(root) == {"a", "c", "d"}
    use(cache, root, "b")
    assert on_disk(root) == {"a", "d", "b"}, "and it was fetched again"


def test_what_is_in_use_stays(root: Path) -> None:
    mine, others = DiskCache(root, SIZE), DiskCache(root, SIZE)
    use(others, root, "a")
    theirs = others.taken()
    use(mine, root, "b")
    held = mine.taken()
    use(mine, root, "c")
    assert on_disk(root) == {"a", "b", "c"}
    del theirs
    mine.taken()
    gc.collect()
    use(mine, root, "d")
    assert on_disk(root) == {"b", "d"}
    assert len(held) == 1


def test_without_a_limit_all_stays(root: Path) -> None:
    cache = DiskCache(root, None)
    for name in "abc":
        use(cache, root, name)
        cache.taken()
    assert on_disk(root) == {"a", "b", "c"}


def test_what_lies_elsewhere_is_nobodys_business(root: Path, tmp_path: Path) -> None:
    cache = DiskCache(root, 1)
    elsewhere = tmp_path / "package"
    elsewhere.mkdir()
    (elsewhere / "model.safetensors").write_bytes(b"x" * SIZE)
    assert cache.held(lambda: elsewhere) == elsewhere
    assert cache.taken() == ()
    assert elsewhere.is_dir()


def test_what_vanished_before_it_was_held_is_fetched_again(root: Path) -> None:
    mine, others = DiskCache(root, None), DiskCache(root, 1)
    find, tries = finder(root, "a"), []

    def slow() -> Path:
        path = find()
        tries.append(path)
        if len(tries) == 1:
            use(others, root, "b")  # which leaves no room for what nobody holds
            assert not path.exists()
        return path

    assert (mine.held(slow) / "model.safetensors").is_file()
    assert len(tries) == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_made_room_on(root: Path, code: int) -> None:
    cache = DiskCache(root, None)
    for name in "abc":
        use(cache, root, name)
    held = [hold for hold, name in zip(cache.taken(), "abc", strict=True) if name == "c"]
    gc.collect()

    def fetch(folder: Path) -> None:
        if len(on_disk(root) & {"a", "b"}) > 1:
            raise OSError(code, os.strerror(code))
        (folder / "model.safetensors").write_bytes(b"x")

    cache.held(lambda: once(root / "registry" / "d", fetch))
    assert on_disk(root) == {"b", "c", "d"}, "one was enough"

    def hopeless(folder: Path) -> None:
        raise OSError(code, os.strerror(code))

    cache.taken()
    gc.collect()
    with pytest.raises(Unavailable, match="no room for the model's files"):
        cache.held(lambda: once(root / "registry" / "e", hopeless))
    assert on_disk(root) == {"c"}
    assert held


def test_another_fault_of_the_disk_is_passed_on(root: Path) -> None:
    def fetch(folder: Path) -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        DiskCache(root, None).held(lambda: once(root / "registry" / "a", fetch))


def test_what_the_dead_left_behind_goes(root: Path) -> None:
    cache = DiskCache(root, None)
    use(cache, root, "a")
    for name, age in (("old", 100_000), ("new", 100)):
        for path in (f"registry/.{name}", f".removing-{name}", f"hub/.{name}"):
            folder = root / path
            folder.mkdir(parents=True)
            os.utime(folder, (time.time() - age,) * 2)
    cache.clean()
    assert on_disk(root) == {"a", ".new"}
    assert {path.name for path in root.glob(".removing-*")} == {".removing-new"}
    assert {path.name for path in (root / "hub").iterdir()} == {".old", ".new"}, "not ours"


def test_nothing_vanishes_from_under_its_users(root: Path) -> None:
    """Four users of eight models, with room for three."""
    faults: list[str] = []

    def work(seed: int) -> None:
        rng, cache = random.Random(seed), DiskCache(root, 3 * SIZE)
        for _ in range(60):
            name = rng.choice("abcdefgh")
            folder = cache.held(finder(root, name))
            holds = cache.taken()
            time.sleep(rng.random() / 500)
            if (folder / "model.safetensors").stat().st_size != SIZE:
                faults.append(name)
            del holds

    with ThreadPoolExecutor(4) as users:
        list(users.map(work, range(4)))
    assert faults == []
    DiskCache(root, 3 * SIZE).held(finder(root, "a"))
    assert len(on_disk(root)) <= 3
