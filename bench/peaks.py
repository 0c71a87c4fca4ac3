"""The most memory that processes ever held, as the kernel keeps it in ``/proc`` (see proc(5))."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

#: Written to ``clear_refs`` it makes the kernel forget the peak.
_FORGET_PEAK = b"5"
_PEAK = re.compile(rb"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def can_measure() -> bool:
    """Whether this system keeps peaks in this way."""
    return Path("/proc/self/clear_refs").exists()


def peak_bytes(pids: Iterable[int]) -> int:
    """The highest peak of resident memory among some processes, since they started or it was forgotten."""
    return max((_peak(pid) for pid in pids), default=0)


def forget_peaks(pids: Iterable[int]) -> None:
    """From here on peaks count anew, from what is held now."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            Path(f"/proc/{pid}/clear_refs").write_bytes(_FORGET_PEAK)


def _peak(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_bytes())
        if found is not None:
            return int(found[1]) << 10
    return 0
