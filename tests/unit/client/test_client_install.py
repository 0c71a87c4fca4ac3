"""The client as others get it: a wheel, installed alone, and what a type checker sees of it."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[3] / "client"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the source, so that the tree stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("*.egg-info", "build", "__pycache__")
    source = shutil.copytree(CLIENT, folder / "client", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(folder), str(source)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = (CLIENT / "src").rglob("*.py")
    expected = {path.relative_to(CLIENT / "src").as_posix() for path in sources}
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == expected | {"textmill/py.typed"}


def test_it_installs_alone_and_soon(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a fresh environment that has nothing of the server. Needs a package index, or pip's cache of one."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    began = time.monotonic()
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel],
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.monotonic() - began
    if done.returncode != 0 and "No matching distribution" in done.stderr:
        pytest.skip("no package index can be reached: the wheel was not installed alone")
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    installed = {line.partition("==")[0].lower() for line in listed.stdout.splitlines()}
    with capsys.disabled():
        print(f"\nthe client installed in {took:.1f} s: {', '.join(sorted(installed))}")
    assert {"textmill", "httpx", "rich", "click"} <= installed
    assert not installed & {
        "torch",
        "flask",
        "celery",
        "redis",
        "minio",
        "pydantic",
        "textmill-server",
    }
    command = tmp_path / "venv" / "bin" / "textmill"
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("textmill, version ")
    check = "import textmill, textmill.cli; textmill.AsyncTextmill('http://127.0.0.1:1', 'key')"
    subprocess.run([python, "-W", "error", "-c", check], cwd="/", check=True)


USER = """
import asyncio
from textmill import AsyncJob, AsyncJobFailed, AsyncTextmill, InvalidRequest, Job, JobFailed, Textmill


def sync_work() -> list[str]:
    with Textmill() as tm:
        job: Job = tm.jobs.create(kind="classify", model="m", input=["a"], params={"top_k": 1})
        try:
            done = job.wait(progress=lambda one: print(one.counts.done), timeout=5)
        except JobFailed as error:
            return [error.code, *(str(row) for row in error.job.errors())]
        except InvalidRequest as error:
            return [f"{wrong.field}: {wrong.reason}" for wrong in error.errors]
        file = tm.files.upload("x.jsonl")
        names: list[str] = [model.name for model in tm.models.list()] + [file.id]
        limits: list[float | None] = [quota.limit for quota in tm.usage().quotas]
        key: str = tm.keys.create(name="ci", scopes=["jobs:read"]).key
        return [str(row["output"]) for row in done.results()] + names + [str(limits), key]


async def told(job: AsyncJob) -> None:
    print(job.status)


async def async_work() -> list[str]:
    async with AsyncTextmill() as tm:
        jobs = await asyncio.gather(
            *(tm.jobs.create(kind="classify", model="m", input=[text]) for text in "ab")
        )
        try:
            done: list[AsyncJob] = await asyncio.gather(*(job.wait(progress=told) for job in jobs))
        except AsyncJobFailed as error:
            return [str(row) async for row in error.job.errors()]
        names: list[str] = [model.name async for model in tm.models.list()]
        return names + [str(row) for job in done async for row in job.results()]


def wrong(job: Job) -> int:
    return job.id  # wrong-line


async def forgotten(tm: AsyncTextmill) -> str:
    return tm.jobs.get("x").id  # wrong-line
"""


def test_a_users_program_is_checked_strictly(tmp_path: Path) -> None:
    """Types reach the user: what is right passes, what is wrong is found, with the oldest Python that is promised."""
    program = tmp_path / "program.py"
    program.write_text(USER)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10"]
    found = subprocess.run(
        [*command, "--cache-dir", str(tmp_path / "cache"), "--config-file", "", str(program)],
        cwd=tmp_path,
        env={"MYPYPATH": str(CLIENT / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = [n for n, line in enumerate(USER.splitlines(), 1) if line.endswith("# wrong-line")]
    lines = [line for line in found.stdout.splitlines() if line.startswith("program.py:")]
    reported = {line.split(":")[1] for line in lines if ": error:" in line}
    assert sorted(map(int, reported)) == wrong, found.stdout


def test_it_runs_on_the_oldest_python_that_it_promises() -> None:
    """Its source is of Python 3.10, as its metadata says."""
    for path in (CLIENT / "src").rglob("*.py"):
        ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 10))
    assert 'requires-python = ">=3.10"' in (CLIENT / "pyproject.toml").read_text("utf-8")
