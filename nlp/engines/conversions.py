"""Where models converted for an engine lie on this host."""

from __future__ import annotations

from pathlib import Path

from jobs.kinds import LoadOptions
from nlp.files import fingerprint, read_json


def conversion_folder(root: Path, files: Path, name: str) -> Path:
    """Folder of one conversion: by the content of the model's files, then by its own name.

    It is there whole or not at all: it is filled under another name, then renamed.
    """
    return root / fingerprint(files) / name


def conversion_of(files: Path, how: LoadOptions) -> str | None:
    """Name of the conversion that loading these files will look for, or None when it looks for none."""
    if how.engine != "ctranslate2":
        return None
    from nlp.generation.conversion import name_for  # noqa: PLC0415  (torch)

    facts = read_json(files / "config.json") or {}
    return name_for(str(facts.get("model_type")), how)
