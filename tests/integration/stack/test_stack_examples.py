"""The examples run as they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stack.running import ROOT, RunningStack

EXAMPLES = ROOT / "examples"
GENERATED = EXAMPLES / "generated"
LABELS = {"praise", "complaint", "question"}


def run(
    stack: RunningStack, command: list[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that knows the stack and nothing else of this one's settings."""
    inherited = {name: value for name, value in os.environ.items() if "TEXTMILL" not in name}
    return subprocess.run(
        command,
        env={
            **inherited,
            "TEXTMILL_URL": stack.client.url,
            "TEXTMILL_API_KEY": stack.client.api_key,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def labelled(done: subprocess.CompletedProcess[str]) -> None:
    """An example has printed a label for each of the three texts."""
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[Mapping[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert {row["output"]["label"] for row in rows} <= LABELS
    assert "submitted" in done.stderr


def test_curl(stack: RunningStack) -> None:
    labelled(run(stack, ["bash", str(EXAMPLES / "curl.sh")]))


def test_curl_shows_the_problem(stack: RunningStack) -> None:
    done = run(stack, ["bash", str(EXAMPLES / "curl.sh")], TEXTMILL_API_KEY="tm_wrong")
    assert done.returncode != 0


def test_python(stack: RunningStack) -> None:
    labelled(run(stack, [sys.executable, str(EXAMPLES / "python_sdk.py")]))


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_javascript(stack: RunningStack) -> None:
    labelled(run(stack, ["node", str(EXAMPLES / "fetch.mjs")]))
    done = run(stack, ["node", str(EXAMPLES / "fetch.mjs")], TEXTMILL_API_KEY="tm_wrong")
    assert done.returncode == 1
    assert "unauthenticated" in done.stderr


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command openapi-python-client, in an environment that is kept until what it shall hold changes."""
    folder = ROOT / ".venv-generator"
    wanted = "".join(
        (GENERATED / name).read_text("utf-8") for name in ("requirements.txt", "constraints.txt")
    )
    stamp = folder / ".installed"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        venv.create(folder, with_pip=True, clear=True)
        arguments = ["-r", str(GENERATED / "requirements.txt")]
        arguments += ["-c", str(GENERATED / "constraints.txt")]
        done = subprocess.run(
            [str(folder / "bin/pip"), "install", "--quiet", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"openapi-python-client does not install: {done.stderr[-500:]}")
        stamp.write_text(wanted, "utf-8")
    return str(folder / "bin/openapi-python-client")


def test_a_generated_client(stack: RunningStack, generator: str, tmp_path: Path) -> None:
    made = run(stack, ["bash", str(GENERATED / "generate.sh"), str(tmp_path)], GENERATOR=generator)
    assert made.returncode == 0, made.stdout + made.stderr
    script = [sys.executable, str(GENERATED / "classify.py")]
    labelled(run(stack, script, PYTHONPATH=str(tmp_path)))
    refused = run(stack, script, PYTHONPATH=str(tmp_path), TEXTMILL_API_KEY="tm_wrong")
    assert refused.returncode == 1
    assert "unauthenticated" in refused.stderr
