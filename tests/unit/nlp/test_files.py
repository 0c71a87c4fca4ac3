"""Model folders: finding them, refusing unsafe ones, identifying content."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from jobs.errors import JobFailure
from nlp.files import check_safe, find_model_folder, fingerprint, is_gguf_only, weight_count
from nlp.loading import load_config
from nlp.materialize import usable_folder
from tests.unit.nlp.tinymodels import save_classifier


def touch(path: Path, content: bytes = b"{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_least_deep_model_is_found(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "deep" / "model" / "config.json")
    touch(tmp_path / "a" / "deep" / "model" / "model.safetensors")
    touch(tmp_path / "a" / "config.json")
    assert find_model_folder(tmp_path) == tmp_path / "a" / "deep" / "model"
    touch(tmp_path / "b" / "small.gguf")
    assert find_model_folder(tmp_path) == tmp_path / "b"
    assert is_gguf_only(tmp_path / "b")


def test_several_models_are_not_chosen_from(tmp_path: Path) -> None:
    for name in ("a", "b"):
        touch(tmp_path / name / "config.json")
        touch(tmp_path / name / "model.safetensors")
    with pytest.raises(JobFailure, match="found several: a, b") as caught:
        find_model_folder(tmp_path)
    assert caught.value.failure_code == "model_unsupported"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["config.json", "pytorch_model.bin"], "model_unsafe"),
        (["config.json", "model.pt"], "model_unsafe"),
        (["config.json", "last.ckpt"], "model_unsafe"),
        (["config.json"], "model_not_found"),
        (["model.safetensors"], "model_not_found"),
        ([], "model_not_found"),
    ],
)
def test_folders_without_safe_weights(tmp_path: Path, names: list[str], code: str) -> None:
    for name in names:
        touch(tmp_path / "model" / name)
    (tmp_path / "model").mkdir(exist_ok=True)
    for refuse in (find_model_folder, check_safe):
        with pytest.raises(JobFailure) as caught:
            refuse(tmp_path / "model")
        assert caught.value.failure_code == code


def test_pickles_beside_safe_weights_do_no_harm(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        touch(tmp_path / name)
    check_safe(tmp_path)
    assert find_model_folder(tmp_path) == tmp_path


def test_the_fingerprint_is_of_content(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for name, content in [("config.json", b"{}"), ("model.safetensors", b"weights")]:
        touch(first / name, content)
        touch(second / name, content)
    touch(second / "README.md", b"words")
    touch(second / ".cache" / "state.json", b"1")
    assert fingerprint(first) == fingerprint(second)
    before = fingerprint(first)
    touch(first / "1_Pooling" / "config.json")
    assert fingerprint(first) != before


def test_the_fingerprint_notices_a_change_of_the_same_size(tmp_path: Path) -> None:
    path = touch(tmp_path / "model.safetensors", b"one")
    before = fingerprint(tmp_path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert fingerprint(tmp_path) != before


def test_weights_are_counted_from_headers(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]},
        "b": {"dtype": "F32", "shape": [], "data_offsets": [48, 52]},
    }
    encoded = json.dumps(header).encode()
    touch(tmp_path / "model.safetensors", len(encoded).to_bytes(8, "little") + encoded)
    assert weight_count(tmp_path) == 13
    touch(tmp_path / "model.safetensors", b"no such format, but long enough")
    with pytest.raises(JobFailure, match="not a safetensors file"):
        weight_count(tmp_path)


def test_foreign_code_is_never_run(tmp_path: Path) -> None:
    touch(tmp_path / "model.safetensors")
    mark = tmp_path / "ran"
    touch(tmp_path / "code.py", f"open({str(mark)!r}, 'w')".encode())
    facts = {"model_type": "own", "auto_map": {"AutoConfig": "code.OwnConfig"}}
    touch(tmp_path / "config.json", json.dumps(facts).encode())
    with pytest.raises(JobFailure, match="needs code of its own") as caught:
        load_config(tmp_path)
    assert caught.value.failure_code == "model_unsupported"
    assert not mark.exists()


def test_a_usable_folder_is_used_as_it_is(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "package" / "model", ["a", "b"])
    assert usable_folder(tmp_path / "package", tmp_path / "cache") == folder
    assert not (tmp_path / "cache").exists()
    shutil.rmtree(folder)
    with pytest.raises(JobFailure):
        usable_folder(tmp_path / "package", tmp_path / "cache")
