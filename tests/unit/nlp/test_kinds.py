"""What every built-in kind must keep to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import nlp.kinds
from jobs.kinds import Kind, KindRegistry
from nlp.kinds import BUILT_IN
from nlp.kinds.classify import Classify, ClassifyParams
from nlp.kinds.summarize import Summarize, SummarizeParams
from nlp.kinds.translate import Translate, TranslateParams

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


def test_engines_are_compared_anew_for_every_way_to_search() -> None:
    found = {
        Translate().search(TranslateParams(**params))
        for params in (
            {},
            {"num_beams": 1},
            {"num_beams": 4},
            {"temperature": 0.5},
            {"max_tokens": 10},
            {"max_tokens": 100},
        )
    }
    assert found == {"", "beams1", "beams4", "sampled", "most16", "most128"}
    kind = Summarize()
    assert kind.search(SummarizeParams(seed=1)) == kind.search(SummarizeParams(seed=2)) == ""
    lengths = SummarizeParams(num_beams=2, max_tokens=64, min_tokens=5)
    assert kind.search(lengths) == "beams2-most64-least8"
    assert Classify().search(ClassifyParams()) == ""
