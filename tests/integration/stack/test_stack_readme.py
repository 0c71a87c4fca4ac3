"""The commands of the README, copied and pasted into a shell and into Python, against a running stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.integration.stack.running import RunningStack

README = Path(__file__).parents[3] / "README.md"

LABELS = {"praise", "complaint", "neutral"}


def blocks(section: str) -> list[str]:
    """The code blocks of one section."""
    text = README.read_text("utf-8")
    body = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```\w*\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(stack: RunningStack, tmp_path: Path) -> Path:
    """A folder like the one in which ``make up`` runs."""
    (tmp_path / ".textmill").mkdir()
    shutil.copy(stack.data_dir / "client.toml", tmp_path / ".textmill/client.toml")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def shell(folder: Path, script: str) -> str:
    """Run a block in a shell of its own that knows nothing of this one's settings."""
    environment = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
    }
    path = 'export PATH="$PWD/.venv/bin:$PATH"\n'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", path + script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_a_newcomers_first_file(folder: Path) -> None:
    start, classify, summarize, models = blocks("Classify your own file")
    assert start.strip() == "make up"
    shell(folder, classify)
    labelled = rows(folder / "labels.jsonl")
    assert [row["custom_id"] for row in labelled] == ["1", "2", "3"]
    assert all(row["output"]["label"] in LABELS for row in labelled)

    shell(folder, summarize)
    assert all(row["output"]["summary"] for row in rows(folder / "summaries.jsonl"))

    shell(folder, models)
    assert "prod" in shell(folder, "textmill models show minilm")


def test_from_python_and_from_curl(folder: Path) -> None:
    python, curl = blocks("From Python, from curl")
    (folder / "reviews.csv").write_text("id,text\n1,The battery died.\n2,Would buy again.\n")
    (folder / "example.py").write_text(python)
    printed = shell(folder, "python example.py").split()
    assert printed[::2] == ["0", "1"]
    assert set(printed[1::2]) <= LABELS

    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the README's curl example was not run")
    first, again = orjson.loads(shell(folder, curl)), orjson.loads(shell(folder, curl))
    assert first["id"] == again["id"]
