"""Deleting models: nothing goes that an alias, an unfinished job or an adapter still needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import Conflict, NotFound, Unavailable
from jobs.ids import new_id
from jobs.states import Status
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.registry import LATEST, Registry
from storage.removal import Removal
from tests.integration.storage.ledgerbench import make_whole, new_job

TENANT, NAME = "default", "tickets"


@pytest.fixture
def registry(store: ObjectStore) -> Registry:
    return Registry(store)


@pytest.fixture
def removal(registry: Registry, ledger: Ledger) -> Removal:
    make_whole(ledger)
    return Removal(registry, ledger, TENANT)


def publish(registry: Registry, tmp_path: Path, files: dict[str, str], name: str = NAME) -> str:
    folder = tmp_path / new_id("job")
    folder.mkdir()
    for file, text in files.items():
        (folder / file).write_text(text)
    return registry.publish(TENANT, name, folder, source="pkg:x", facts={}, job=folder.name).version


@pytest.fixture
def versions(registry: Registry, tmp_path: Path) -> list[str]:
    return [publish(registry, tmp_path, {"model.safetensors": text}) for text in "ab"]


def submit(ledger: Ledger, model: dict[str, Any], tenant: str = TENANT) -> str:
    job_id = new_id("job")
    job = replace(new_job(job_id, tenant=tenant, model_key=str(model["ref"])), model=model)
    assert ledger.jobs.enter(job)
    return job_id


def test_a_version_that_nothing_needs_goes_with_all_its_objects(
    registry: Registry, removal: Removal, store: ObjectStore, versions: list[str]
) -> None:
    removal.delete_version(NAME, versions[0])
    assert [one.version for one in registry.versions(TENANT, NAME)] == versions[1:]
    left = [found.name for found in store.list(f"tenants/{TENANT}/models/")]
    assert not [name for name in left if f"/{versions[0]}/" in name]
    with pytest.raises(NotFound):
        removal.delete_version(NAME, versions[0])


def test_a_version_that_was_deleted_can_be_published_again(
    registry: Registry, removal: Removal, versions: list[str], tmp_path: Path
) -> None:
    removal.delete_version(NAME, versions[0])
    assert publish(registry, tmp_path, {"model.safetensors": "a"}) == versions[0]
    assert registry.aliases(TENANT, NAME)[LATEST] == versions[0]


def test_aliases_hold_a_version(registry: Registry, removal: Removal, versions: list[str]) -> None:
    registry.set_alias(TENANT, NAME, "prod", versions[0])
    for version, alias in ((versions[0], "prod"), (versions[1], LATEST)):
        with pytest.raises(Conflict, match=f"alias {alias} points at {version}") as caught:
            removal.delete_version(NAME, version)
        assert [(one.field, one.value) for one in caught.value.fields] == [("alias", alias)]
        assert registry.version(TENANT, NAME, version)
    registry.set_alias(TENANT, NAME, "prod", versions[1])
    removal.delete_version(NAME, versions[0])


def test_unfinished_jobs_hold_what_they_use(
    registry: Registry, removal: Removal, ledger: Ledger, versions: list[str]
) -> None:
    ref = f"registry:{NAME}@{versions[0]}"
    submit(ledger, {"ref": ref}, tenant="other")
    jobs = [
        submit(ledger, {"ref": ref}),
        submit(ledger, {"ref": "registry:helper@1", "base": ref}),
    ]
    with pytest.raises(Conflict, match="uses") as caught:
        removal.delete_version(NAME, versions[0])
    assert {one.value for one in caught.value.fields} == set(jobs)
    with pytest.raises(Conflict, match="uses"):
        removal.delete_model(NAME)
    for job in jobs:
        ledger.jobs.cancel(job)
        assert ledger.jobs.finish(replace(ledger.jobs.get(TENANT, job), status=Status.CANCELLED))
    removal.delete_version(NAME, versions[0])


@pytest.mark.parametrize("revision", ["version", "alias"])
def test_adapters_hold_their_base(
    registry: Registry, removal: Removal, versions: list[str], tmp_path: Path, revision: str
) -> None:
    base = f"registry:{NAME}@{versions[0]}"
    files = {
        "version": {"adapter_config.json": "{}", "textmill.json": f'{{"base": "{base}"}}'},
        "alias": {"adapter_config.json": f'{{"base_model_name_or_path": "{base}"}}'},
    }[revision]
    adapter = publish(registry, tmp_path, files, "helper")
    with pytest.raises(Conflict, match=f"adapter helper@{adapter} has {versions[0]} as its base"):
        removal.delete_version(NAME, versions[0])
    with pytest.raises(Conflict, match="adapter helper"):
        removal.delete_model(NAME)
    removal.delete_model("helper")
    removal.delete_version(NAME, versions[0])


def test_a_model_goes_with_latest_but_not_with_prod(
    registry: Registry, removal: Removal, store: ObjectStore, versions: list[str]
) -> None:
    registry.set_alias(TENANT, NAME, "prod", versions[0])
    with pytest.raises(Conflict, match="alias prod"):
        removal.delete_model(NAME)
    registry.delete_alias(TENANT, NAME, "prod")
    removal.delete_model(NAME)
    assert list(store.list(f"tenants/{TENANT}/models/{NAME}/")) == []
    with pytest.raises(NotFound):
        removal.delete_model(NAME)


def test_nothing_is_deleted_while_the_ledger_cannot_say(
    registry: Registry, ledger: Ledger, versions: list[str]
) -> None:
    removal = Removal(registry, ledger, TENANT)
    with pytest.raises(Unavailable):
        removal.delete_version(NAME, versions[0])
    assert len(registry.versions(TENANT, NAME)) == 2
