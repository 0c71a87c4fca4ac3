"""Two network namespaces and the cables between them: one to the ledger and the broker, one to the object store.

The process that makes them must be root of a user namespace and a network namespace of its own, as under
``unshare --map-root-user --net``; nothing of the machine is changed, and all is gone when its last process is.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

Server = Literal["redis", "store"]
SERVERS: tuple[Server, ...] = ("redis", "store")

#: What the whole test runs in: namespaces of its own, whose processes all die with the first one.
UNSHARE = (
    "unshare",
    "--map-root-user",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)


@dataclass(frozen=True)
class Cable:
    """A pair of virtual Ethernet devices: one at the servers, one at the far worker."""

    near: str  #: name of the device at the servers
    far: str
    network: str  #: the first three numbers of its addresses

    @property
    def address(self) -> str:
        """Where the far worker finds the server."""
        return f"{self.network}.1"


CABLES: dict[Server, Cable] = {
    "redis": Cable("tmredis0", "tmredis1", "10.99.1"),
    "store": Cable("tmstore0", "tmstore1", "10.99.2"),
}


class Network:
    """The far side: a network namespace that a process holds open, and the cables into it."""

    def __init__(self, holder: subprocess.Popen[bytes]) -> None:
        self._holder = holder

    @classmethod
    def build(cls) -> Self:
        """Lay the cables. What runs on this side keeps the loopback address that it had."""
        _run("ip", "link", "set", "lo", "up")
        ready, tell = os.pipe()
        # It says when it is in its namespace; a cable laid before would end on this side.
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", f"echo >&{tell}; exec sleep infinity"], pass_fds=[tell]
        )
        os.close(tell)
        with os.fdopen(ready, "rb") as pipe:
            pipe.readline()
        made = cls(holder)
        _run(*made.far("ip", "link", "set", "lo", "up"))
        for cable in CABLES.values():
            _run("ip", "link", "add", cable.near, "type", "veth", "peer", "name", cable.far)
            _run("ip", "link", "set", cable.far, "netns", str(holder.pid))
            _run("ip", "address", "add", f"{cable.address}/24", "dev", cable.near)
            address = f"{cable.network}.2/24"
            _run(*made.far("ip", "address", "add", address, "dev", cable.far))
            _run(*made.far("ip", "link", "set", cable.far, "up"))
        made.mend(SERVERS)
        return made

    def far(self, *command: str) -> list[str]:
        """A command such that it runs on the far side."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *command]

    def is_far(self, pid: int) -> bool:
        """Whether a process runs on the far side. False when it is gone."""
        try:
            found = Path(f"/proc/{pid}/ns/net").stat()
        except OSError:
            return False
        return found.st_ino == Path(f"/proc/{self._holder.pid}/ns/net").stat().st_ino

    def cut(self, servers: Sequence[Server]) -> None:
        """Pull the cables to these servers. No connection ends: nothing is ever answered again."""
        for server in servers:
            _run("ip", "link", "set", CABLES[server].near, "down")

    def mend(self, servers: Sequence[Server]) -> None:
        """Plug them in again."""
        for server in servers:
            _run("ip", "link", "set", CABLES[server].near, "up")

    def close(self) -> None:
        """End the far side."""
        self._holder.kill()
        self._holder.wait()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=30)
