"""Children end with their parent, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from server import leash
from server.leash import leashed

WaitUntil = Callable[[Callable[[], bool]], None]
IsGone = Callable[[int], bool]
RunScript = Callable[[str], "subprocess.Popen[str]"]

LEASH = [sys.executable, "-I", "-S", str(Path(leash.__file__))]

#: Starts one child in each way that there is, prints their pids and sleeps.
PARENT = """
import subprocess, sys, time
from server.leash import leashed
{start}
print(child.pid, flush=True)
time.sleep(600)
"""
BY_WRAPPER = """
child = subprocess.Popen(leashed(["sleep", "600"]), start_new_session=True)
"""
BY_CALL = """
code = "from server.leash import die_with_parent as d; import time; d(); print(1, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
"""
BY_WATCHER = """
import os
code = f"from server.leash import watch; watch({os.getpid()}, ['sh', '-c', 'echo 1; sleep 600'], 9)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
"""


@pytest.mark.parametrize("start", [BY_WRAPPER, BY_CALL, BY_WATCHER])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_its_parent(
    start: str, signum: int, run_script: RunScript, wait_until: WaitUntil, is_gone: IsGone
) -> None:
    parent = run_script(PARENT.format(start=start))
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    family = [child, *(p.pid for p in psutil.Process(child).children(recursive=True))]
    assert not any(is_gone(pid) for pid in family)
    parent.send_signal(signum)
    wait_until(lambda: all(is_gone(pid) for pid in family))


def test_the_signal_may_be_chosen(
    run_script: RunScript, wait_until: WaitUntil, is_gone: IsGone, tmp_path: Path
) -> None:
    command = ["sh", "-c", "trap 'touch ended; exit' TERM; echo 1; while :; do sleep 0.1; done"]
    start = f"""
import signal
command = leashed({command!r}, signum=signal.SIGTERM)
child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
"""
    parent = run_script(PARENT.format(start=start))
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    wait_until(lambda: is_gone(child))
    assert (tmp_path / "ended").exists()


def test_status_output_and_arguments_are_the_commands_own() -> None:
    command = leashed(["sh", "-c", 'echo "$@"; exit 7', "sh", "--", "a b", "--nice"])
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "-- a b --nice\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the wrapper stays as a watcher")
def test_the_wrapper_becomes_the_command() -> None:
    with subprocess.Popen(leashed(["sh", "-c", "echo $$"]), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert int(process.stdout.read()) == process.pid


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the wrapper stays as a watcher")
@pytest.mark.parametrize("name", ["PIPE", "XFSZ", "INT", "TERM"])
def test_signals_act_on_the_command_as_usual(name: str) -> None:
    ended = subprocess.run(leashed(["sh", "-c", f"kill -{name} $$; sleep 5"]), check=False)
    assert ended.returncode == -getattr(signal, f"SIG{name}")


def test_a_command_that_cannot_be_run_is_named() -> None:
    command = leashed(["no-such-program"])
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 127
    assert "cannot run no-such-program: [Errno 2]" in ended.stderr


def test_nothing_runs_for_a_parent_that_is_gone(tmp_path: Path) -> None:
    not_the_parent = os.getppid()
    command = [*LEASH, str(not_the_parent), "--", "touch", "ran"]
    subprocess.run(command, cwd=tmp_path, check=False)
    assert not (tmp_path / "ran").exists()


def test_dying_with_a_parent_that_is_gone_already_is_immediate() -> None:
    code = "from server.leash import die_with_parent as d; import time; d(parent=1); time.sleep(60)"
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=30)
    assert ended.returncode == -signal.SIGKILL


def test_the_watcher_passes_signals_and_status_on() -> None:
    script = "trap 'exit 5' TERM; echo 1; while :; do sleep 0.05; done"
    code = f"""
import os, sys
from server.leash import watch
sys.exit(watch({os.getpid()}, ["sh", "-c", {script!r}], 9))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        watcher.terminate()
        assert watcher.wait(timeout=20) == 5


@pytest.mark.parametrize("arguments", [[], ["1"], ["1", "--"], ["x", "--", "true"]])
def test_wrong_usage_is_refused(arguments: list[str]) -> None:
    ended = subprocess.run([*LEASH, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "usage: leash" in ended.stderr
