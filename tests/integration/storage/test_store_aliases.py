"""Aliases in the store: every move is kept, of many at once too; a rollback is one; a repeated task changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.errors import Conflict, NotFound
from storage.objects import ObjectStore
from storage.registry import LATEST, ModelVersion, Registry

TENANT, NAME = "default", "tickets"


@pytest.fixture
def registry(store: ObjectStore) -> Registry:
    return Registry(store)


@pytest.fixture
def versions(registry: Registry, tmp_path: Path) -> list[str]:
    return [publish(registry, tmp_path, weights, f"job:{weights}").version for weights in "abc"]


def publish(
    registry: Registry, folder: Path, weights: str, job: str, card: str | None = None
) -> ModelVersion:
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "model.safetensors").write_text(weights)
    (model / "README.md").write_text(card or f"made by {job}")
    facts = {"job": job}
    return registry.publish(TENANT, NAME, model, source=job, facts=facts, job=job)


def points(registry: Registry, alias: str) -> str | None:
    return registry.aliases(TENANT, NAME).get(alias)


def test_a_rollback_is_one_call(registry: Registry, versions: list[str]) -> None:
    for version in versions:
        registry.set_alias(TENANT, NAME, "prod", version)
    assert registry.roll_back(TENANT, NAME, "prod") == versions[1]
    assert points(registry, "prod") == versions[1]
    assert registry.roll_back(TENANT, NAME, "prod") == versions[0]
    with pytest.raises(Conflict, match="no other version"):
        registry.roll_back(TENANT, NAME, "prod")
    reasons = [move.reason for move in registry.alias_history(TENANT, NAME, "prod")]
    assert reasons == ["rollback", "rollback", "set", "set", "set"]


def test_a_call_that_comes_again_goes_no_further_back(
    registry: Registry, versions: list[str]
) -> None:
    for version in versions:
        registry.set_alias(TENANT, NAME, "prod", version)
    assert registry.roll_back(TENANT, NAME, "prod", "key-1") == versions[1]
    assert registry.roll_back(TENANT, NAME, "prod", "key-1") == versions[1]
    assert len(registry.alias_history(TENANT, NAME, "prod")) == 4


def test_moves_at_once_lose_none(registry: Registry, versions: list[str]) -> None:
    wanted = [versions[number % 3] for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        moving = pool.map(lambda version: registry.set_alias(TENANT, NAME, "prod", version), wanted)
        assert [found.version for found in moving] == wanted
    history = registry.alias_history(TENANT, NAME, "prod")
    assert [move.number for move in history] == list(reversed(range(24)))
    assert sorted(str(move.version) for move in history) == sorted(wanted)
    assert points(registry, "prod") == history[0].version


def test_latest_never_moves_back(registry: Registry, versions: list[str], tmp_path: Path) -> None:
    again = publish(registry, tmp_path, "a", "job:a")
    assert again.version == versions[0]
    assert points(registry, LATEST) == versions[2]
    registry.set_alias(TENANT, NAME, LATEST, versions[1])
    publish(registry, tmp_path, "c", "job:c")
    assert points(registry, LATEST) == versions[1]  # somebody's wish, and nothing new


def test_another_job_with_the_same_bytes_is_the_same_version_and_newest_again(
    registry: Registry, versions: list[str], tmp_path: Path
) -> None:
    made = publish(registry, tmp_path, "a", "job:other")
    assert made.version == versions[0]
    assert made.source == "job:a"
    assert points(registry, LATEST) == versions[0]
    origins = registry.origins(TENANT, NAME, versions[0])
    assert [one.job for one in origins] == ["job:a", "job:other"]
    assert origins[1].facts == {"job": "job:other"}
    assert registry.read(TENANT, made, "README.md") == b"made by job:a"


def test_a_publication_that_was_cut_short_is_finished_by_its_repetition(
    registry: Registry, store: ObjectStore, tmp_path: Path
) -> None:
    made = publish(registry, tmp_path, "a", "job:a")
    for found in store.list(f"tenants/{TENANT}/models/{NAME}/aliases/"):
        store.delete(found.name)
    assert points(registry, LATEST) is None
    assert publish(registry, tmp_path, "a", "job:a") == made
    assert points(registry, LATEST) == made.version


def test_jobs_that_publish_at_once(registry: Registry, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(6)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(6) as pool:
        made = pool.map(
            lambda n: publish(registry, folders[n], "ab"[n % 2], f"job:{n}"), range(len(folders))
        )
        names = {one.version for one in made}
    assert len(names) == 2
    assert len(registry.versions(TENANT, NAME)) == 2
    assert points(registry, LATEST) in names
    origins = [one.job for name in names for one in registry.origins(TENANT, NAME, name)]
    assert sorted(origins) == [f"job:{number}" for number in range(6)]


def test_an_alias_can_be_deleted_and_set_anew(registry: Registry, versions: list[str]) -> None:
    registry.set_alias(TENANT, NAME, "prod", versions[0])
    registry.delete_alias(TENANT, NAME, "prod")
    assert points(registry, "prod") is None
    with pytest.raises(NotFound):
        registry.resolve(TENANT, NAME, "prod")
    for act in (registry.delete_alias, registry.roll_back, registry.alias_history):
        with pytest.raises(NotFound):
            act(TENANT, NAME, "prod")
    registry.set_alias(TENANT, NAME, "prod", versions[1])
    assert registry.roll_back(TENANT, NAME, "prod") == versions[0]
    with pytest.raises(Conflict, match="latest"):
        registry.delete_alias(TENANT, NAME, LATEST)
