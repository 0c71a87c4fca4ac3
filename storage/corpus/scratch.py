"""A temporary table on local disk, for what is too much for memory and of no use afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import Unavailable

#: Memory that one table takes, in KiB; beyond it pages go to disk.
_CACHE_KIB = 16 << 10


class ScratchFull(Unavailable):
    """The local disk does not take what must be put aside; nothing of the job is lost."""


@contextmanager
def scratch_faults() -> Iterator[None]:
    """Tell a local disk that is full or broken.

    Raises:
        ScratchFull: it is.
    """
    try:
        yield
    except sqlite3.Error as error:
        reason = f"temporary files cannot be written on this host ({error}); see TMPDIR"
        raise ScratchFull(reason, retry_after=30) from error


def open_scratch() -> sqlite3.Connection:
    """An empty database in ``TMPDIR``, which is gone with its connection, also when the process is killed.

    SQLite gives a database without a name a file that is unlinked as soon as it is open.
    """
    connection = sqlite3.connect("", isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    return connection
