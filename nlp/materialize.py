"""From the files as they came to a folder that loads quickly."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from nlp.files import check_safe, find_model_folder, fingerprint, gguf_file, is_gguf_only


def usable_folder(source: Path, cache: Path) -> Path:
    """A folder of safetensors weights, configuration and tokenizer for the model found at ``source``.

    That is the model's own folder when it is one. A GGUF is converted once into ``cache/<fingerprint>``;
    other processes that want the same one wait for it.

    Raises:
        JobFailure: there is no model, or none that may or can be loaded.
    """
    folder = find_model_folder(source)
    check_safe(folder)
    if not is_gguf_only(folder):
        return folder
    target = cache / fingerprint(folder)
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_dir():
                from nlp.gguf import import_gguf  # noqa: PLC0415  (torch, only where it is needed)

                import_gguf(gguf_file(folder), target)
    return target
