"""Child processes that end with their parent, even when the parent is killed with ``kill -9``.

Linux ties the two together in the kernel (``PR_SET_PDEATHSIG``, see prctl(2)): a small wrapper asks for the signal
and then turns into the command by ``exec``, so the child's pid is that of the wrapper. Elsewhere the wrapper stays
beside the command as its watcher and asks every 0.2 s whether the parent is still there.

The kernel sends the signal when the *thread* that started the child ends. Start leashed children from a thread
that lives as long as the process: the main thread, as the supervisor does.

The setting does not pass on to a child's own children. Each of those calls :func:`die_with_parent` for itself
(pool children, gunicorn workers) or is started through :func:`leashed` too.

Run as a script this module imports the standard library only, so that a leash costs a few hundredths of a second.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

#: ``PR_SET_PDEATHSIG`` of ``<linux/prctl.h>``.
_PR_SET_PDEATHSIG = 1
#: Seconds between two looks at the parent where the kernel does not watch it.
_WATCH_SECONDS = 0.2
#: Exit status of a command that cannot be run, as in shells.
_CANNOT_RUN = 127
_FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def leashed(command: Sequence[str], *, signum: signal.Signals = signal.SIGKILL) -> list[str]:
    """``command`` such that it gets ``signum`` when the calling process ends.

    Only the process that calls this may start the result, and from a thread that does not end before it.
    A command that cannot be run exits with status 127.
    """
    wrapper = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid())]
    return [*wrapper, "--signal", str(int(signum)), "--", *command]


def die_with_parent(signum: signal.Signals = signal.SIGKILL, *, parent: int | None = None) -> None:
    """Make the running process get ``signum`` when the thread that started it ends.

    Args:
        signum: the signal to get.
        parent: pid of the parent as the caller knows it. When it is gone already, the signal comes at once;
            without it, a parent that died before this call goes unnoticed.

    Raises:
        OSError: the kernel refused.
    """
    if sys.platform == "linux":
        _set_parent_death_signal(signum)
        if parent is not None and os.getppid() != parent:
            os.kill(os.getpid(), signum)
        return
    threading.Thread(
        target=_signal_self_without,
        args=(os.getppid() if parent is None else parent, signum),
        name="leash",
        daemon=True,
    ).start()


def _set_parent_death_signal(signum: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signum), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")


def _signal_self_without(parent: int, signum: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signum)


def become(parent: int, command: Sequence[str], signum: int) -> None:
    """Turn this process into ``command``, tied to ``parent`` by the kernel. Returns only when that fails.

    Raises:
        OSError: the command cannot be run.
    """
    _set_parent_death_signal(signum)
    if os.getppid() != parent:
        return
    # Python ignores these two, and what is ignored stays so across exec: give the command the usual ones.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execvp(command[0], list(command))  # noqa: S606 - replacing this process is the point


def watch(parent: int, command: Sequence[str], signum: int) -> int:
    """Run ``command`` below this process until it ends or ``parent`` does; the exit status for this process.

    Both share a process group of their own, which is killed whole when ``signum`` is SIGKILL.

    Raises:
        OSError: the command cannot be run.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    early: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: FrameType | None) -> None:
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    for forwarded in _FORWARDED:
        signal.signal(forwarded, forward)
    child = subprocess.Popen(command)
    for number in early:
        child.send_signal(number)
    while child.poll() is None and os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    if child.poll() is None:
        if signum == signal.SIGKILL:
            os.killpg(0, signal.SIGKILL)  # this process too
        child.send_signal(signum)
    status = child.wait()
    return status if status >= 0 else 128 - status


def main(arguments: Sequence[str]) -> int:
    """``leash.py PARENT_PID [--signal N] -- COMMAND…``; the exit status."""
    before, command = list(arguments), []
    if "--" in before:
        split = before.index("--")
        before, command = before[:split], before[split + 1 :]
    parser = argparse.ArgumentParser(
        prog="leash", description="Run a command until PARENT_PID ends."
    )
    parser.add_argument("parent", type=int, metavar="PARENT_PID")
    parser.add_argument("--signal", type=int, default=int(signal.SIGKILL))
    options = parser.parse_args(before)
    if not command:
        parser.error("expected -- and a command")
    try:
        if sys.platform == "linux":
            become(options.parent, command, options.signal)
            return 0  # the parent is gone: nobody wants the command any more
        return watch(options.parent, command, options.signal)
    except OSError as error:
        print(f"leash: cannot run {command[0]}: {error}", file=sys.stderr)
        return _CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
