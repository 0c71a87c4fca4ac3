"""Ledger and store as the code under test opens them, on the session's servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.settings import Settings
from storage.broker import Broker, make_celery
from storage.ledger import Ledger
from storage.ledger.scripts import LedgerClient
from storage.objects import ObjectStore
from tests.integration.storage.ledgerbench import LEASE_MS, LedgerBench


@pytest.fixture
def client(redis_url: str) -> Iterator[LedgerClient]:
    """A connection to an empty Redis, without an epoch."""
    made = LedgerClient.connect(Settings.from_environment({"TEXTMILL_REDIS_URL": redis_url}))
    yield made
    made.close()


@pytest.fixture
def bench(client: LedgerClient) -> LedgerBench:
    """A ledger that is whole and empty, on a clock of the test's own."""
    made = LedgerBench(client)
    made.ledger.begin_epoch()
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
def ledger(client: LedgerClient) -> Ledger:
    """An empty ledger without an epoch, on Redis's own clock."""
    return Ledger(client, LEASE_MS)


@pytest.fixture
def broker(settings: Settings) -> Iterator[Broker]:
    """The way to send messages."""
    app = make_celery(settings)
    yield Broker(app)
    app.close()
