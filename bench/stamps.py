"""Moments, written by whoever lives through them: nobody has to look again and again.

The clock is the machine's monotonic one, which all its processes share.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_LOOK_SECONDS = 0.002


def write_stamp(path: Path) -> None:
    """Add a line with this moment, in nanoseconds."""
    moment = time.monotonic_ns()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, b"%d\n" % moment)
    finally:
        os.close(descriptor)


def first_stamp(path: Path, *, patience: float = 60.0) -> int:
    """The first moment written, once it is there.

    Raises:
        TimeoutError: it was not written within ``patience`` seconds.
    """
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        lines = path.read_bytes().split() if path.exists() else []
        if lines:
            return int(lines[0])
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"nothing was written to {path.name} in {patience:g} s")
