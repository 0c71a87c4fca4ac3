"""Ledger and store as the code under test opens them, on the session's servers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from jobs.settings import Settings
from storage.broker import Broker, make_celery
from storage.ledger import Ledger
from storage.ledger.scripts import LedgerClient
from storage.objects import ObjectStore
from tests.integration.conftest import server_alone
from tests.integration.storage.ledgerbench import LEASE_MS, LedgerBench

#: The oldest Redis whose scripts may carry flags.
OLDEST_REDIS = 7


def installed_redis() -> str:
    """Path of a Redis server that is new enough; skips the test where there is none."""
    path = shutil.which("redis-server")
    if path is None:
        pytest.skip("no redis-server on PATH: the ledger is tested on Valkey alone")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r" v=(\d+)", said)
    if version is None or int(version[1]) < OLDEST_REDIS:
        pytest.skip(f"the redis-server on PATH is older than {OLDEST_REDIS}: {said.strip()}")
    return path


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Redis itself, configured as the embedded Valkey is; its URL."""
    path = installed_redis()
    with server_alone(tmp_path_factory.mktemp("redis"), path) as url:
        yield url


@pytest.fixture(params=["valkey", "redis"])
def client(request: pytest.FixtureRequest) -> Iterator[LedgerClient]:
    """A connection to an empty server, without an epoch: what the ledger does it does on each of them."""
    name = {"valkey": "redis_url", "redis": "redis_server"}[request.param]
    url: str = request.getfixturevalue(name)
    made = LedgerClient.connect(Settings.from_environment({"TEXTMILL_REDIS_URL": url}))
    made.redis.flushall()
    made.redis.script_flush()
    yield made
    made.close()


@pytest.fixture
def bench(client: LedgerClient) -> LedgerBench:
    """A ledger that is whole and empty, on a clock of the test's own."""
    made = LedgerBench(client)
    made.begin()
    return made


@pytest.fixture
def settings(settings_env: dict[str, str]) -> Settings:
    """Settings that name an empty Redis and an empty bucket."""
    return Settings.from_environment(settings_env)


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    """An empty bucket."""
    return ObjectStore.connect(settings)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """An empty ledger without an epoch, on the server's own clock."""
    made = LedgerClient.connect(settings)
    yield Ledger(made, LEASE_MS)
    made.close()


@pytest.fixture
def broker(settings: Settings) -> Iterator[Broker]:
    """The way to send messages."""
    app = make_celery(settings)
    yield Broker(app)
    app.close()
