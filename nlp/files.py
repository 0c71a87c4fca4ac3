"""A model's files: which folder holds them, whether they are safe to load, and what identifies them."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from math import prod
from pathlib import Path
from struct import unpack
from typing import Any

from jobs.errors import JobFailure

#: Weights that are pickles, which run code when they are opened.
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
#: Files that decide what a model computes. Documentation, code and other frameworks' weights do not.
_RELEVANT = frozenset(
    {".safetensors", ".gguf", ".json", ".jinja", ".txt", ".model", ".spm", ".vocab"}
)
#: What tells a folder with a LoRA adapter, as PEFT saves one, from a whole model.
ADAPTER_CONFIG = "adapter_config.json"
#: How deep below its root a package or download may hold the model.
_DEPTH = 4


def find_model_folder(root: Path) -> Path:
    """The folder at or below ``root`` that holds a loadable model: the least deep one.

    Raises:
        JobFailure: ``model_not_found``, ``model_unsafe`` (only pickled weights), or ``model_unsupported``
            (several models at the same depth).
    """
    folders = [root] if root.is_dir() else []
    unsafe: Path | None = None
    for _ in range(_DEPTH + 1):
        found = [folder for folder in folders if _has_safetensors(folder)]
        found = found or [folder for folder in folders if list(folder.glob("*.gguf"))]
        if len(found) > 1:
            names = ", ".join(folder.name for folder in found)
            raise JobFailure("model_unsupported", f"Expected one model, found several: {names}.")
        if found:
            return found[0]
        unsafe = unsafe or next((folder for folder in folders if _pickles(folder)), None)
        folders = sorted(
            child for folder in folders for child in folder.iterdir() if child.is_dir()
        )
    if unsafe is not None:
        check_safe(unsafe)
    raise JobFailure(
        "model_not_found",
        "Found no config.json or adapter_config.json with *.safetensors beside it, and no *.gguf.",
    )


def check_safe(folder: Path) -> None:
    """Refuse a folder without weights that can be opened safely; an adapter's are weights too.

    Raises:
        JobFailure: ``model_unsafe`` when there are only pickled weights, ``model_not_found`` when none.
    """
    if _has_safetensors(folder) or list(folder.glob("*.gguf")):
        return
    pickles = _pickles(folder)
    if pickles:
        raise JobFailure(
            "model_unsafe",
            f"The weights are pickles ({', '.join(pickles[:3])}), which can run code when opened. "
            "Expected *.safetensors: convert the model first.",
        )
    raise JobFailure("model_not_found", "Expected config.json and *.safetensors, or a *.gguf.")


def gguf_file(folder: Path) -> Path:
    """The one GGUF file of a folder.

    Raises:
        JobFailure: there is none, or there are several and none is more the model than another.
    """
    found = sorted(folder.glob("*.gguf"))
    if not found:
        raise JobFailure("model_not_found", "Expected a *.gguf file.")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise JobFailure("model_unsupported", f"Expected one *.gguf file, found {names}.")
    return found[0]


def is_gguf_only(folder: Path) -> bool:
    """Whether the folder must be converted before it can be loaded."""
    return not _has_safetensors(folder) and bool(list(folder.glob("*.gguf")))


def fingerprint(folder: Path) -> str:
    """A key of the model's content: SHA-256, in hex, over names, sizes and bytes of the files that matter.

    Digests of single files are remembered for as long as size and modification time stay the same.
    """
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        if hidden or path.suffix not in _RELEVANT or not path.is_file():
            continue
        status = path.stat()
        digest = _file_digest(path, status.st_size, status.st_mtime_ns)
        total.update(f"{len(name)}:{name} {status.st_size} {digest}\n".encode())
    return total.hexdigest()


def weight_count(folder: Path) -> int:
    """How many numbers the folder's safetensors files hold, read from their headers.

    Raises:
        JobFailure: ``model_unsupported``, a file is not in the safetensors format.
    """
    return sum(
        prod(entry["shape"])
        for path in folder.glob("*.safetensors")
        for name, entry in _safetensors_header(path).items()
        if name != "__metadata__"
    )


def file_bytes(folder: Path) -> int:
    """Size of the folder's safetensors files."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def weight_names(folder: Path) -> set[str]:
    """Names of the weights in the folder's safetensors files.

    Raises:
        JobFailure: ``model_unsupported``, a file is not in the safetensors format.
    """
    return {name for path in folder.glob("*.safetensors") for name in _safetensors_header(path)}


def read_json(path: Path) -> Any:
    """A JSON file of a model, or None where there is no such file.

    Raises:
        JobFailure: ``model_unsupported``, the file is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise JobFailure("model_unsupported", f"{path.name} is not valid JSON: {error}") from error


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter, which is of use only over its base."""
    return (folder / ADAPTER_CONFIG).is_file()


def _has_safetensors(folder: Path) -> bool:
    described = (folder / "config.json").is_file() or is_adapter(folder)
    return described and bool(list(folder.glob("*.safetensors")))


def _pickles(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)


@lru_cache(maxsize=4096)
def _file_digest(path: Path, _size: int, _modified: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _safetensors_header(path: Path) -> dict[str, Any]:
    """Header of a safetensors file: 8 bytes of length, little endian, then JSON.

    The format: https://github.com/huggingface/safetensors#format
    """
    with path.open("rb") as stream:
        start = stream.read(8)
        length = unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= 100_000_000:
            raise JobFailure("model_unsupported", f"{path.name} is not a safetensors file.")
        try:
            header: dict[str, Any] = json.loads(stream.read(length))
        except ValueError as error:
            raise JobFailure(
                "model_unsupported", f"{path.name} is not a safetensors file."
            ) from error
    return header
