"""A workshop on the session's servers, with shards of a few rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.settings import Settings
from storage.broker import Broker, make_celery
from tests.integration.workers.workshop import Workshop


@pytest.fixture
def shop(settings_env: dict[str, str]) -> Iterator[Workshop]:
    """An empty installation."""
    settings = Settings.from_environment({**settings_env, "TEXTMILL_SHARD_MAX_ROWS": "5"})
    app = make_celery(settings)
    made = Workshop(settings, Broker(app))
    yield made
    made.ledger.close()
    app.close()
