"""The embedded servers of one data folder: who may use it, its credentials and ports, and the children to start."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.errors import TextmillError
from server.child import ChildSpec
from server.packaged import EmbeddedUnavailable, write_private
from server.ports import LOOPBACK, free_ports, is_free
from server.seaweedfs import REGION, SeaweedPorts, SeaweedSecrets, remove_sockets, seaweedfs
from server.valkey import valkey, valkey_url

#: Seconds to wait for the children of a stack that was killed to end too.
LEFTOVER_SECONDS = 5.0


class FolderInUse(TextmillError):
    """Another process runs on the same data folder."""

    code: ClassVar[str] = "folder_in_use"
    title: ClassVar[str] = "Data folder in use"

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{data_dir} is in use by {holder}: stop that one, or choose another folder with --data-dir"
        )
        self.pid = pid


class EmbeddedConfig(BaseModel):
    """Credentials and ports of one data folder: made at its first start, kept in ``embedded.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redis_password: str = Field(min_length=16, pattern=r"^\w+$")
    redis_port: int
    s3_access_key: str = Field(min_length=8, pattern=r"^\w+$")
    s3_secret_key: str = Field(min_length=16, pattern=r"^\w+$")
    s3_signing_key: str = Field(min_length=16, pattern=r"^\w+$")
    s3_bucket: str = "textmill"
    s3_ports: SeaweedPorts

    @classmethod
    def new(cls, avoid: Collection[int] = ()) -> Self:
        """Fresh random credentials and free ports, none of them in ``avoid``."""
        ports = free_ports(1 + _SEAWEED_PORTS, avoid=avoid)
        return cls(
            redis_password=secrets.token_hex(24),
            redis_port=ports[0],
            s3_access_key=secrets.token_hex(10),
            s3_secret_key=secrets.token_hex(20),
            s3_signing_key=secrets.token_hex(32),
            s3_ports=_seaweed_ports(ports[1:]),
        )

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """What ``path`` holds, or None where there is no such file.

        Raises:
            EmbeddedUnavailable: the file is damaged.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            fields = ", ".join(
                ".".join(map(str, e["loc"])) or "the whole file" for e in error.errors()
            )
            raise EmbeddedUnavailable(
                f"{path} is damaged ({fields}): delete it, and the next start makes another; no data are lost"
            ) from error

    def with_free_ports(self, avoid: Collection[int] = ()) -> Self:
        """The same with other ports for those servers of which one port is taken now, or is in ``avoid``."""
        redis_port, s3_ports = self.redis_port, self.s3_ports
        taken = {*avoid, redis_port, *_numbers(s3_ports)}
        if redis_port in avoid or not is_free(redis_port):
            (redis_port,) = free_ports(1, avoid=taken)
            taken.add(redis_port)
        if any(port in avoid or not is_free(port) for port in _numbers(s3_ports)):
            s3_ports = _seaweed_ports(free_ports(_SEAWEED_PORTS, avoid=taken))
        return self.model_copy(update={"redis_port": redis_port, "s3_ports": s3_ports})

    def environment(self) -> dict[str, str]:
        """The ``TEXTMILL_*`` variables with which every role finds the servers so configured."""
        return {
            "TEXTMILL_REDIS_URL": valkey_url(self.redis_port, self.redis_password),
            "TEXTMILL_S3_ENDPOINT": f"http://{LOOPBACK}:{self.s3_ports.s3}",
            "TEXTMILL_S3_ACCESS_KEY": self.s3_access_key,
            "TEXTMILL_S3_SECRET_KEY": self.s3_secret_key,
            "TEXTMILL_S3_BUCKET": self.s3_bucket,
            "TEXTMILL_S3_REGION": REGION,
            "TEXTMILL_S3_SECURE": "false",
        }


class EmbeddedServices:
    """Valkey and SeaweedFS for one data folder, which is locked until :meth:`close`.

    The children keep the lock open too: a second stack cannot begin on the same files before the last of them ended.
    """

    def __init__(self, data_dir: Path, config: EmbeddedConfig, lock: int) -> None:
        self.data_dir = data_dir
        self.config = config
        self._lock: int | None = lock

    @classmethod
    def prepare(cls, data_dir: Path, avoid: Collection[int] = ()) -> Self:
        """Lock ``data_dir``, made where it does not exist, and settle its credentials and ports.

        Args:
            data_dir: the folder.
            avoid: ports that are free now, but will be somebody else's.

        Raises:
            FolderInUse: another process holds the folder.
            EmbeddedUnavailable: ``embedded.json`` is damaged.
        """
        data_dir = data_dir.resolve()
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(data_dir)
        try:
            path = data_dir / "embedded.json"
            known = EmbeddedConfig.load(path)
            if known is not None:
                remove_sockets(known.s3_ports)  # of a stack that was killed
            config = EmbeddedConfig.new(avoid) if known is None else known.with_free_ports(avoid)
            if config != known:
                write_private(path, config.model_dump_json(indent=1) + "\n")
        except BaseException:
            os.close(lock)
            raise
        return cls(data_dir, config, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder. To be called once the children have stopped; more than once does nothing."""
        if self._lock is not None:
            remove_sockets(self.config.s3_ports)
            os.close(self._lock)
            self._lock = None

    def specs(self) -> list[ChildSpec]:
        """Valkey, then SeaweedFS, in the order of starting. Writes their configuration.

        Raises:
            EmbeddedUnavailable: a program is not installed.
            ValueError: already closed.
        """
        if self._lock is None:
            raise ValueError("the embedded services were closed")
        config, data = self.config, self.data_dir / "data"
        return [
            valkey(
                data / "valkey",
                port=config.redis_port,
                password=config.redis_password,
                lock=self._lock,
            ),
            seaweedfs(
                data / "seaweedfs",
                ports=config.s3_ports,
                secrets=SeaweedSecrets(
                    access_key=config.s3_access_key,
                    secret_key=config.s3_secret_key,
                    signing_key=config.s3_signing_key,
                ),
                bucket=config.s3_bucket,
                lock=self._lock,
            ),
        ]

    def environment(self) -> dict[str, str]:
        """The ``TEXTMILL_*`` variables with which every role finds these servers."""
        return self.config.environment()


_SEAWEED_PORTS = len(SeaweedPorts.__dataclass_fields__)


def _seaweed_ports(numbers: list[int]) -> SeaweedPorts:
    return SeaweedPorts(**dict(zip(SeaweedPorts.__dataclass_fields__, numbers, strict=True)))


def _numbers(ports: SeaweedPorts) -> list[int]:
    return [getattr(ports, name) for name in SeaweedPorts.__dataclass_fields__]


def _lock(data_dir: Path) -> int:
    """Take the folder's lock and write this process's id into it; the open file descriptor."""
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        give_up = time.monotonic() + LEFTOVER_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pid = _holder(descriptor)
                # A dead holder's children keep the lock for the moment that they take to follow it.
                if _alive(pid) or time.monotonic() > give_up:
                    raise FolderInUse(data_dir, pid) from None
                time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _holder(descriptor: int) -> int | None:
    with contextlib.suppress(ValueError):
        return int(os.pread(descriptor, 32, 0))
    return None


def _alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
