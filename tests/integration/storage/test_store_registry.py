"""The model registry: versions that never change, and aliases that move."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import NotFound
from jobs.names import TenantNames
from storage.objects import ObjectStore
from storage.registry import LATEST, ModelVersion, Registry

TENANT = "default"
FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "sub/vocab.txt": b"a\nb\n"}


@pytest.fixture
def registry(store: ObjectStore) -> Registry:
    return Registry(store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    for name, data in FILES.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return made


def publish(registry: Registry, folder: Path, change: bytes | None = None) -> ModelVersion:
    if change is not None:
        (folder / "config.json").write_bytes(change)
    return registry.publish(TENANT, "tickets", folder, source="pkg:x", facts={"task": "classify"})


def test_a_version_comes_back_and_can_be_downloaded(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    made = publish(registry, folder)
    assert registry.version(TENANT, "tickets", made.version) == made
    assert (made.source, made.facts) == ("pkg:x", {"task": "classify"})
    assert made.files == {name: len(data) for name, data in FILES.items()}
    assert made.bytes == sum(map(len, FILES.values()))
    registry.download(TENANT, made, tmp_path / "copy")
    copied = (path for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert {
        path.relative_to(tmp_path / "copy").as_posix(): path.read_bytes() for path in copied
    } == FILES


def test_publishing_the_same_files_again_gives_the_same_version(
    registry: Registry, folder: Path
) -> None:
    first = publish(registry, folder)
    again = registry.publish(TENANT, "tickets", folder, source="other", facts={})
    assert again == first
    assert registry.versions(TENANT, "tickets") == [first]


def test_other_contents_are_another_version(registry: Registry, folder: Path) -> None:
    first = publish(registry, folder)
    second = publish(registry, folder, b'{"a": 1}')
    assert first.version != second.version
    assert {one.version for one in registry.versions(TENANT, "tickets")} == {
        first.version,
        second.version,
    }
    (folder / "config.json").rename(folder / "other.json")
    assert publish(registry, folder).version not in (first.version, second.version)


def test_latest_follows_and_aliases_stay(registry: Registry, folder: Path) -> None:
    first = publish(registry, folder)
    registry.set_alias(TENANT, "tickets", "prod", first.version)
    second = publish(registry, folder, b"[]")
    assert registry.resolve(TENANT, "tickets", None) == second
    assert registry.resolve(TENANT, "tickets", LATEST) == second
    assert registry.resolve(TENANT, "tickets", "prod") == first
    assert registry.resolve(TENANT, "tickets", first.version) == first
    assert registry.set_alias(TENANT, "tickets", "prod", LATEST) == second
    assert registry.aliases(TENANT, "tickets") == {
        LATEST: second.version,
        "prod": second.version,
    }


def test_what_is_no_version(registry: Registry, folder: Path) -> None:
    made = publish(registry, folder)
    registry.set_alias(TENANT, "tickets", "version", made.version)
    for revision in ("missing", "0" * 12, "../tickets", "a/b", "aliases"):
        with pytest.raises(NotFound):
            registry.version(TENANT, "tickets", revision)
        with pytest.raises(NotFound):
            registry.resolve(TENANT, "tickets", revision)
        with pytest.raises(NotFound):
            registry.set_alias(TENANT, "tickets", "prod", revision)


def test_what_is_no_model(registry: Registry, folder: Path) -> None:
    publish(registry, folder)
    for name in ("missing", "../x", "a/b", "", ".."):
        with pytest.raises(NotFound):
            registry.resolve(TENANT, name, None)
        with pytest.raises(NotFound):
            registry.versions(TENANT, name)
        with pytest.raises(NotFound):
            registry.version(TENANT, name, "x")


def test_a_version_exists_once_its_record_does(
    registry: Registry, store: ObjectStore, folder: Path
) -> None:
    made = publish(registry, folder)
    half = TenantNames(TENANT).model_version("tickets", "halfdone")
    store.put(half + "model.safetensors", b"weights")
    assert registry.versions(TENANT, "tickets") == [made]
    with pytest.raises(NotFound):
        registry.resolve(TENANT, "tickets", "halfdone")


def test_tenants_are_separated(registry: Registry, folder: Path) -> None:
    publish(registry, folder)
    assert registry.names(TENANT) == ["tickets"]
    assert registry.names("other") == []
    with pytest.raises(NotFound):
        registry.resolve("other", "tickets", None)
