"""A process that runs a supervisor, and what signals do to it and to its children."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

WaitUntil = Callable[[Callable[[], bool]], None]
IsGone = Callable[[int], bool]
RunScript = Callable[[str], "subprocess.Popen[str]"]

#: ``leaf`` is what a pool child is to a worker: started by a child, tied to it by its own call.
SCRIPT = """
import sys
from pathlib import Path
from server.child import ChildSpec
from server.supervisor import Supervisor

leaf = "from server.leash import die_with_parent as d; import time; d(); print('leaf', flush=True); time.sleep(600)"
root = f'''
import subprocess, sys, time
leaf = subprocess.Popen([sys.executable, "-c", {leaf!r}], start_new_session=True, stdout=subprocess.PIPE)
leaf.stdout.readline()
open("leaf.pid.new", "w").write(str(leaf.pid))
import os; os.rename("leaf.pid.new", "leaf.pid")
time.sleep(600)
'''
stubborn = "trap '' TERM INT; touch stubborn.up; while :; do sleep 0.2; done"
supervisor = Supervisor(
    [
        ChildSpec(name="plain", command=["sleep", "600"]),
        ChildSpec(name="root", command=[sys.executable, "-c", root], ready=Path("leaf.pid").exists),
        ChildSpec(
            name="stubborn",
            command=["sh", "-c", stubborn],
            ready=Path("stubborn.up").exists,
            stop_timeout={stop_timeout},
        ),
    ],
    Path("logs"),
    lambda event: print(event.name, event.kind, flush=True),
)
supervisor.run(lambda: print("started", *map(supervisor.pid, ["plain", "root", "stubborn"]), flush=True))
print("ended", flush=True)
"""


class Stack:
    """The script, running, with all pids below it."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        assert process.stdout is not None
        self.process = process
        self.output = process.stdout
        while not (line := self.output.readline()).startswith("started"):
            assert line, "the script ended before everything was started"
        self.pids = [int(pid) for pid in line.split()[1:]]
        self.pids.append(int((folder / "leaf.pid").read_text()))
        below = psutil.Process(process.pid).children(recursive=True)
        assert set(self.pids) <= {child.pid for child in below}


@pytest.fixture
def start(run_script: RunScript, tmp_path: Path) -> Callable[[float], Stack]:
    """Start the script with a stop timeout for its stubborn child."""

    def run(stop_timeout: float) -> Stack:
        source = SCRIPT.replace("{stop_timeout}", str(stop_timeout))
        return Stack(run_script(source), tmp_path)

    return run


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_stops_all_in_reverse_order(
    signum: int, start: Callable[[float], Stack], wait_until: WaitUntil, is_gone: IsGone
) -> None:
    stack = start(0.5)
    stack.process.send_signal(signum)
    assert stack.process.wait(timeout=20) == 0
    lines = stack.output.read().splitlines()
    stopped = [line.split()[0] for line in lines if line.endswith(" stopped")]
    assert stopped == ["stubborn", "root", "plain"]
    assert lines[-1] == "ended"
    wait_until(lambda: all(is_gone(pid) for pid in stack.pids))


def test_a_second_ctrl_c_kills_at_once(
    start: Callable[[float], Stack], wait_until: WaitUntil, is_gone: IsGone
) -> None:
    stack = start(600)
    stack.process.send_signal(signal.SIGINT)
    assert stack.output.readline() == "stubborn stopping\n"
    time.sleep(0.3)
    assert stack.process.poll() is None
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(timeout=20) == 0
    wait_until(lambda: all(is_gone(pid) for pid in stack.pids))


def test_nothing_outlives_a_supervisor_that_is_killed(
    start: Callable[[float], Stack], wait_until: WaitUntil, is_gone: IsGone
) -> None:
    stack = start(600)
    stack.process.kill()
    wait_until(lambda: all(is_gone(pid) for pid in stack.pids))


def test_a_stop_signal_while_starting_stops_what_was_started(
    run_script: RunScript, wait_until: WaitUntil, is_gone: IsGone
) -> None:
    process = run_script(
        """
from pathlib import Path
from server.child import ChildSpec
from server.supervisor import Supervisor
supervisor = Supervisor(
    [
        ChildSpec(name="plain", command=["sleep", "600"]),
        ChildSpec(name="never", command=["sleep", "600"], ready=lambda: False, ready_timeout=600),
    ],
    Path("logs"),
    lambda event: print(event.name, event.kind, supervisor.pid(event.name), flush=True),
)
supervisor.run(lambda: print("started", flush=True))
"""
    )
    assert process.stdout is not None
    seen = []
    while not (line := process.stdout.readline()).startswith("never starting"):
        seen.append(line.split())
    pid = next(int(words[2]) for words in seen if words[1] == "ready")
    process.terminate()
    assert process.wait(timeout=20) == 0
    output = process.stdout.read()
    assert "started" not in output
    assert "plain stopped" in output
    wait_until(lambda: is_gone(pid))
