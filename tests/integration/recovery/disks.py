"""A stack whose servers keep their data on small disks of their own, which can be filled up."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.integration.stack.running import RunningStack

#: What each disk holds, in MiB.
SIZES = {"valkey": 48, "seaweedfs": 192}

#: Mounts a disk at each folder given as ``<size>:<folder>`` up to ``--`` and turns into the command behind it.
_MOUNT = """
while [ "$1" != -- ]; do mount -t tmpfs -o "size=${1%%:*}m,mode=700" tmpfs "${1#*:}" || exit 1; shift; done
shift
exec "$@"
"""

_BALLAST = "ballast"
_CHUNK = b"\0" * (1 << 20)


def small_disks(data_dir: Path) -> list[str]:
    """The beginning of a command line that sees the servers' folders on small disks; [] where none can be made.

    The disks live in memory, in a mount namespace of the command's own, and are gone with its last process.
    """
    namespace = ["unshare", "--mount", "--map-root-user", "--"]
    script = ["sh", "-c", _MOUNT, "sh"]
    mounts = []
    for name, size in SIZES.items():
        folder = data_dir / "data" / name
        folder.mkdir(parents=True, mode=0o700)
        mounts.append(f"{size}:{folder}")
    if shutil.which(namespace[0]) is None:
        return []
    command = [*namespace, *script, *mounts, "--"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True, timeout=30)
    return command if tried.returncode == 0 else []


def data_folder(stack: RunningStack, name: str) -> Path:
    """The folder of a server as the stack sees it, from outside of its namespace."""
    return Path(f"/proc/{stack.up.pid}/root") / (stack.data_dir / "data" / name).relative_to("/")


@contextlib.contextmanager
def full_disk(stack: RunningStack, name: str) -> Iterator[None]:
    """Fill up the disk of a server to its last byte, and empty it again."""
    ballast = data_folder(stack, name) / _BALLAST
    try:
        _fill(ballast)
        yield
    finally:
        ballast.unlink()


def _fill(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = len(_CHUNK)
        while size:
            try:
                os.write(descriptor, _CHUNK[:size])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
    finally:
        os.close(descriptor)
