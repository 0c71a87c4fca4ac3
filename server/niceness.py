"""Standing back: processes that may wait leave the processors to those that may not."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

#: The nicest that a process can be.
MOST = 19

_AUTOGROUP = Path("/proc/self/autogroup")


def stand_back(steps: int) -> None:
    """Lower this process's claim on processors, and that of what it starts from here on, by ``steps`` of nice(1).

    Linux shares its processors among sessions first and asks for niceness only within each (sched(7), "The autogroup
    feature"). So a process that leads a session, as all children of ``up`` and services of systemd do, makes its
    session as nice. One that does not lets its session alone: it may be a person's terminal.
    """
    if not steps:
        return
    level = os.nice(steps)
    if sys.platform == "linux" and os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no such feature, or not for us
            _AUTOGROUP.write_text(str(level))
