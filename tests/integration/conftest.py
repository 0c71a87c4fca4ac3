"""Real servers for integration tests: one Valkey and one SeaweedFS for the whole session.

What a test gets for itself:

* ``redis_url``: every logical database is emptied before the test. Tests of one process run one after another and
  each process has servers of its own, so nothing else writes there.
* ``bucket``: a fresh bucket, removed with all that is in it after the test.
* ``settings_env``: ``TEXTMILL_*`` variables that name both.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject

from server.embedded import EmbeddedServices
from server.ports import free_ports
from server.supervisor import Supervisor
from server.valkey import valkey, valkey_url

#: Generous: a busy machine may take long to bring a killed server back.
RECOVERY_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class Services:
    """The running servers, ``valkey`` and ``seaweedfs``, and ways to hurt them."""

    settings_env: dict[str, str]  #: TEXTMILL_* variables
    supervisor: Supervisor
    data_dir: Path

    @property
    def redis_url(self) -> str:
        """Valkey, logical database 0."""
        return self.settings_env["TEXTMILL_REDIS_URL"]

    def pid(self, name: str) -> int:
        """Process id of a server that runs."""
        pid = self.supervisor.pid(name)
        assert pid is not None, f"{name} does not run"
        return pid

    def kill(self, name: str) -> None:
        """``kill -9`` a server and return once it is dead. It stays down until :meth:`recover`."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        while self.supervisor.pid(name) == pid:
            self.supervisor.poll()

    def recover(self, name: str) -> None:
        """Let the supervisor start a server that died, and return once it can be written to."""
        give_up = time.monotonic() + RECOVERY_SECONDS
        while not self.supervisor.is_ready(name):
            assert time.monotonic() < give_up, f"{name} did not come back"
            self.supervisor.poll()
            time.sleep(0.05)

    def restart(self, name: str) -> None:
        """Kill a server and bring it back."""
        self.kill(name)
        self.recover(name)

    def pause(self, name: str) -> None:
        """Freeze a server: it keeps its connections and answers nothing until :meth:`resume`."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid(name), signal.SIGCONT)

    def minio(self, http: urllib3.PoolManager) -> Minio:
        """A client of the store that sends its requests through ``http``."""
        return Minio(
            self.settings_env["TEXTMILL_S3_ENDPOINT"].removeprefix("http://"),
            access_key=self.settings_env["TEXTMILL_S3_ACCESS_KEY"],
            secret_key=self.settings_env["TEXTMILL_S3_SECRET_KEY"],
            region=self.settings_env["TEXTMILL_S3_REGION"],
            secure=False,
            http_client=http,
        )


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Valkey and SeaweedFS, ready to be written to."""
    data_dir = tmp_path_factory.mktemp("services")
    with EmbeddedServices.prepare(data_dir) as embedded:
        supervisor = Supervisor(embedded.specs(), data_dir / "logs", lambda _event: None)
        with supervisor:
            yield Services(
                settings_env=embedded.environment(), supervisor=supervisor, data_dir=data_dir
            )


@contextmanager
def server_alone(folder: Path, program: str | None = None) -> Iterator[str]:
    """A Valkey beside the session's, configured as that is; its URL.

    Args:
        folder: for its data and logs.
        program: another server, such as Redis itself.
    """
    (port,) = free_ports(1)
    password = secrets.token_hex(16)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    spec = valkey(folder / "data", port=port, password=password, lock=lock)
    if program is not None:
        spec = replace(spec, name="redis", command=[program, *spec.command[1:]])
    with Supervisor([spec], folder / "logs", lambda _event: None):
        os.close(lock)
        yield valkey_url(port, password)


@pytest.fixture
def redis_url(services: Services) -> str:
    """Valkey, emptied; logical databases 0 to 15 are the test's own."""
    with redis.Redis.from_url(services.redis_url) as client:
        client.flushall()
        client.script_flush()
    return services.redis_url


@pytest.fixture
def minio(services: Services) -> Iterator[Minio]:
    """A plain client of the store."""
    with urllib3.PoolManager() as http:
        yield services.minio(http)


@pytest.fixture
def bucket(minio: Minio) -> Iterator[str]:
    """Name of a fresh bucket."""
    name = f"test-{secrets.token_hex(8)}"
    minio.make_bucket(name)
    yield name
    found = minio.list_objects(name, recursive=True)
    doomed = (DeleteObject(item.object_name) for item in found if item.object_name)
    assert list(minio.remove_objects(name, doomed)) == []
    minio.remove_bucket(name)


@pytest.fixture
def settings_env(services: Services, redis_url: str, bucket: str) -> dict[str, str]:
    """``TEXTMILL_*`` variables of an empty ledger and an empty bucket."""
    return {
        **services.settings_env,
        "TEXTMILL_REDIS_URL": redis_url,
        "TEXTMILL_S3_BUCKET": bucket,
    }
