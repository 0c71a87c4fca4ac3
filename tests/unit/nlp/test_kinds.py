"""What every built-in kind must keep to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import nlp.kinds
from jobs.kinds import Kind, KindRegistry
from nlp.kinds import BUILT_IN

KINDS_FOLDER = Path(nlp.kinds.__file__).parent


def test_reading_kinds_loads_no_model_library() -> None:
    names = [
        f"nlp.kinds.{path.stem}" for path in KINDS_FOLDER.glob("*.py") if path.stem != "__init__"
    ]
    assert len(names) >= 2
    program = (
        "import importlib, sys\n"
        f"for name in {['nlp.kinds', *sorted(names)]!r}: importlib.import_module(name)\n"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=KINDS_FOLDER.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_one_file_is_one_kind() -> None:
    files = {path.stem for path in KINDS_FOLDER.glob("*.py")} - {"__init__"}
    assert {kind.name for kind in BUILT_IN} == files
    assert set(KindRegistry([kind() for kind in BUILT_IN])) == files


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.name)
def test_parameters_say_what_they_are(kind: type[Kind]) -> None:
    schema = kind.Params.model_json_schema()
    assert schema["additionalProperties"] is False
    for name, entry in schema["properties"].items():
        assert entry.get("description"), name
        assert entry.get("examples"), name
