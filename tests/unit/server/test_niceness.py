"""Workers stand back for the API, also where Linux asks whole sessions for their niceness."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AUTOGROUP = Path("/proc/self/autogroup")

SCRIPT = """
import os
from server.niceness import stand_back
stand_back(0)
stand_back(3)
stand_back(4)
print(os.nice(0))
try:
    print(*open("/proc/self/autogroup").read().split()[-1:] or ["none"])
except OSError:
    print("none")
"""


def grouped() -> bool:
    """Whether this kernel shares by sessions: the file may be there and say nothing."""
    try:
        return bool(AUTOGROUP.read_text().split())
    except OSError:
        return False


def levels(*, leads: bool) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        start_new_session=leads,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    process, session = done.stdout.split()
    return int(process), session


def test_a_process_stands_back_by_steps() -> None:
    assert levels(leads=False)[0] == min(19, os.nice(0) + 7)


@pytest.mark.skipif(not grouped(), reason="this kernel shares by processes alone")
def test_whoever_leads_a_session_takes_it_along_and_others_leave_it_alone() -> None:
    before = AUTOGROUP.read_text().split()[-1]
    assert levels(leads=True)[1] == str(min(19, os.nice(0) + 7))
    assert levels(leads=False)[1] == before
