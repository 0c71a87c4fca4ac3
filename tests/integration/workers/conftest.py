"""A workshop on the session's servers, with shards of a few rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import Settings
from storage.broker import Broker, make_celery
from tests.integration.workers.trainings import Trainings
from tests.integration.workers.workshop import Workshop


@pytest.fixture
def shop(settings_env: dict[str, str], tmp_path: Path) -> Iterator[Workshop]:
    """An empty installation."""
    own = {"TEXTMILL_SHARD_MAX_ROWS": "5", "TEXTMILL_CACHE_DIR": str(tmp_path / "cache")}
    settings = Settings.from_environment({**settings_env, **own})
    app = make_celery(settings)
    made = Workshop(settings, Broker(app))
    yield made
    made.ledger.close()
    app.close()


@pytest.fixture
def trainings(shop: Workshop) -> Trainings:
    """Trainings in that installation."""
    return Trainings(shop)
