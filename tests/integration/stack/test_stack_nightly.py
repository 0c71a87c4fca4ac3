"""The guide from a folder of files to a nightly schedule, copied and pasted into a shell and into Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.integration.stack.running import RunningStack
from textmill import Textmill

GUIDE = Path(__file__).parents[3] / "docs/howto/nightly.md"

#: Generous: a model is loaded for the first night.
SECONDS = 280


def blocks(language: str) -> list[str]:
    found = re.findall(
        rf"^```{language}\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found
    return found


@pytest.fixture
def folder(stack: RunningStack, tmp_path: Path) -> Path:
    """A folder like the one in which ``make up`` runs."""
    (tmp_path / ".textmill").symlink_to(stack.data_dir)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": f"{folder}/.venv/bin:/usr/local/bin:/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_command_of_the_guide(folder: Path, tm: Textmill) -> None:
    # One shell for all, as a reader has; it ends with the schedule, which nobody wants to fire in the night.
    script = "\n".join([*blocks("sh"), "textmill-server corpora get s3://corpora/labelled/ after"])
    told = run(folder, "bash", "-euo", "pipefail", "-c", script)
    schedule = orjson.loads((folder / "schedule.json").read_bytes())["id"]
    try:
        assert "2 sent, 0 unchanged" in told
        assert "2 sent, 0 unchanged, 1 removed" in told
        first, second = reversed(list(tm.schedules.runs(schedule)))
        assert (first.status, second.status) == ("completed", "completed")
        assert first.corpus is not None
        assert second.corpus is not None
        assert (first.corpus.new, first.corpus.computed) == (4, 4)
        assert (second.corpus.new, second.corpus.changed, second.corpus.carried) == (1, 1, 3)
        # What was foretold came true.
        assert told.count("2 rows computed, 1 new, 1 changed, 3 carried over") >= 2
        assert "4 of 4 rows to compute" in told
        assert "2 of 5 rows to compute" in told
        for place, job in (("labelled", first.job), ("after", second.job)):
            latest = orjson.loads((folder / place / "_latest.json").read_bytes())
            assert latest["job"] == job
        (script,) = blocks("python")
        table = run(folder, f"{sys.prefix}/bin/python", "-c", script)
        assert "praise" in table
        assert "complaint" in table
    finally:
        tm.schedules.delete(schedule)
