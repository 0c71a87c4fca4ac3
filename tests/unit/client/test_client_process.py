"""The command as a process of its own: signals, pipes, and what it imports."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import textmill
from tests.unit.client.scripted import (
    JOB,
    JOB_ID,
    KEY,
    ScriptedServer,
    job,
    ranged,
    reply,
)

SOURCE = Path(textmill.__file__).parent.parent
COMMAND = [sys.executable, "-W", "error", "-m", "textmill"]


def environ(server: ScriptedServer | None = None) -> dict[str, str]:
    """An environment in which only the client can be imported."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    kept |= {"PYTHONPATH": str(SOURCE), "COLUMNS": "80", "TERM": "xterm-256color"}
    return kept | ({"TEXTMILL_URL": server.url, "TEXTMILL_API_KEY": KEY} if server else {})


def wait_for(what: str, happened: object) -> None:
    """Wait until a function says yes."""
    assert callable(happened)
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def test_ctrl_c_while_waiting_leaves_the_job_alone(server: ScriptedServer) -> None:
    server.on("GET", JOB, reply(job(), ETag='"1"'))
    process = subprocess.Popen(
        [*COMMAND, "watch", JOB_ID],
        env=environ(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for("polls", lambda: len(server.requests) > 2)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout == ""
    assert f"textmill watch {JOB_ID}" in stderr
    assert f"textmill cancel {JOB_ID}" in stderr
    assert "Traceback" not in stderr
    assert {request.method for request in server.requests} == {"GET"}


@pytest.mark.parametrize("arguments", [["results", JOB_ID], ["list", "--json"]])
def test_a_reader_that_goes_away_is_no_error(server: ScriptedServer, arguments: list[str]) -> None:
    server.on("GET", f"{JOB}/results", ranged(b'{"index": 0}\n' * 200_000))
    jobs = {"data": [job() for _ in range(2000)], "has_more": False, "next_after": None}
    server.on("GET", "/v1/jobs", reply(jobs))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environ(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=30)
    assert said == b""
    assert process.returncode == 141


def test_progress_is_live_on_a_terminal_and_leaves_stdout_alone(server: ScriptedServer) -> None:
    server.on(
        "GET",
        JOB,
        *[reply(job(attempts=n), ETag=f'"{n}"') for n in range(1, 6)],
        reply(job("completed")),
    )
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "watch", JOB_ID],
        env=environ(server),
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    drawn = bytearray()
    try:
        while piece := os.read(control, 65536):
            drawn += piece
    except OSError:  # how a terminal says that its other end was closed
        pass
    os.close(control)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"6,228" in drawn
    assert b"\x1b[2K" in drawn
    assert b"\x1b" not in stdout
    assert re.search(r"completed +10,000 of 10,000 rows", stdout.decode())


def test_the_client_stands_alone() -> None:
    check = """
import sys, textmill
rooms = {"api", "jobs", "nlp", "scheduler", "server", "storage", "workers"}
import textmill.cli
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & rooms, loaded & rooms
"""
    subprocess.run([sys.executable, "-W", "error", "-c", check], env=environ(), cwd="/", check=True)


def test_its_import_loads_nothing_that_few_need() -> None:
    """No tables and colours, no command line, no event loop; and httpx is whole for whoever else uses it."""
    check = """
import sys, textmill
heavy = {"rich", "click", "pygments", "asyncio", "anyio"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from textmill import AsyncTextmill
assert "asyncio" in sys.modules
assert set(textmill.__all__) <= {*vars(textmill), "AsyncJob", "AsyncTextmill"}
import httpx._main
"""
    subprocess.run([sys.executable, "-W", "error", "-c", check], env=environ(), cwd="/", check=True)


def test_its_source_imports_only_what_it_declares() -> None:
    allowed = {"click", "httpx", "rich", "textmill", "tomli", "typing_extensions"}
    allowed |= set(sys.stdlib_module_names)
    pattern = re.compile(r"^\s*(?:from|import) ([a-z_0-9]+)", re.MULTILINE)
    for path in (SOURCE / "textmill").rglob("*.py"):
        code = re.sub(r'""".*?"""', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert set(pattern.findall(code)) <= allowed, path


def test_help_and_version() -> None:
    helped = subprocess.run(
        [*COMMAND, "--help"], env=environ(), capture_output=True, text=True, check=True
    )
    assert "submit" in helped.stdout
    version = subprocess.run(
        [*COMMAND, "--version"], env=environ(), capture_output=True, text=True, check=True
    )
    assert textmill.__version__ in version.stdout
