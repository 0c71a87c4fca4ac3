"""The shape of the tree: who may import whom, and what every script and dependency says of itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LUA = sorted((ROOT / "storage" / "ledger" / "lua").glob("*.lua"))
SCRIPTS = [path for path in LUA if not path.name.startswith("_")]


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    # The path makes it read the packages of this very tree and not those that are installed.
    linter = Path(sys.executable).parent / "lint-imports"
    return subprocess.run(
        [linter, "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": f"{tree}:{tree / 'client' / 'src'}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_every_room_imports_only_what_it_may() -> None:
    found = lint_imports(ROOT)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their rules."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    rooms = {name.partition(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
    for room in [*sorted(rooms), "client/src/textmill"]:
        shutil.copytree(
            ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("api/jobs.py", "import torch", "The API and the scheduler load no models"),
        ("nlp/batching.py", "import redis", "nlp knows no Redis, no S3 and no Celery"),
        ("scheduler/sweeper.py", "import api.app", "api, workers and scheduler never meet"),
        ("client/src/textmill/client.py", "import jobs.ids", "The client stands alone"),
    ],
)
def test_an_import_that_is_forbidden_is_found(
    copy: Path, module: str, line: str, contract: str
) -> None:
    path = copy / module
    path.write_text(path.read_text("utf-8") + f"\n{line}\n", "utf-8")
    found = lint_imports(copy)
    assert found.returncode == 1, found.stdout + found.stderr
    broken = [text for text in found.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(contract in text for text in broken), found.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_says_what_it_takes_and_gives(script: Path) -> None:
    first, *rest = script.read_text("utf-8").splitlines()
    assert first.startswith("#!lua")
    header = []
    for line in rest:
        if not line.startswith("--"):
            break
        header.append(line.removeprefix("-- "))
    said = " ".join(header).partition("ARGV: ")[0].strip()
    assert said.endswith("."), "what it does comes first, in whole sentences"
    assert any(line.startswith("ARGV: ") for line in header)
    assert any(line.startswith("Returns ") for line in header)
    checks = ("require_epoch()", "require_restorer(", "redis.call('GET', 'ledger:rebuild')")
    assert any(check in rest[len(header)] for check in checks), "a check of the epoch comes first"


def test_the_common_part_names_every_key() -> None:
    common = next(path for path in LUA if path.name == "_common.lua").read_text("utf-8")
    schema = "\n".join(line for line in common.splitlines() if line.startswith("--"))
    used = set()
    for script in LUA:
        code = re.sub(r"--.*", "", script.read_text("utf-8"))
        used |= set(re.findall(r"(?:job|job_key\(id\)) \.\. '(:[a-z]+)'", code))
        used |= set(re.findall(r"'([a-z]{2,}:)' \.\.", code))
    assert {":pending", ":leases", "runnable:", "job:"} <= used
    assert {name for name in used if name not in schema} == set()


def requirements() -> list[str]:
    project = PROJECT["project"]
    return [
        *project["dependencies"],
        *(one for group in project["optional-dependencies"].values() for one in group),
    ]


@pytest.mark.parametrize("requirement", requirements())
def test_every_dependency_is_pinned_and_explained(requirement: str) -> None:
    name, pin, version = requirement.partition("==")
    assert pin, f"{requirement} is not pinned"
    assert re.fullmatch(r"[0-9][0-9a-z.+]*", version)
    if name.startswith("textmill"):
        return  # our own client
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", page), f"{name} is not explained"
