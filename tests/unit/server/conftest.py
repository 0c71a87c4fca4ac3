"""Real processes, and how to wait for them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

#: Generous: a busy machine may take seconds to start a few processes.
WAIT_SECONDS = 20.0

WaitUntil = Callable[[Callable[[], bool]], None]
IsGone = Callable[[int], bool]
RunScript = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def wait_until() -> WaitUntil:
    """Wait until a condition holds; fails the test when it does not in time."""

    def wait(condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < give_up, "the condition did not come to hold"
            time.sleep(0.02)

    return wait


@pytest.fixture
def is_gone() -> IsGone:
    """Whether a process has ended; one that nobody has reaped yet counts as ended."""

    def gone(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return gone


@pytest.fixture
def run_script(tmp_path: Path) -> Iterator[RunScript]:
    """Run Python source as a process of its own session, in ``tmp_path``, its output readable."""
    started: list[subprocess.Popen[str]] = []

    def run(source: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", source],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
