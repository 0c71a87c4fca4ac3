"""A workshop on the session's servers, with shards of a few rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.devices import Device
from jobs.settings import Settings
from storage.broker import Broker, make_celery
from tests.integration.workers.trainings import Trainings
from tests.integration.workers.workshop import CPU, Workshop


@contextmanager
def workshop(
    settings_env: dict[str, str], tmp_path: Path, device: Device = CPU
) -> Iterator[Workshop]:
    own = {"TEXTMILL_SHARD_MAX_ROWS": "5", "TEXTMILL_CACHE_DIR": str(tmp_path / "cache")}
    settings = Settings.from_environment({**settings_env, **own})
    app = make_celery(settings)
    made = Workshop(settings, Broker(app), device)
    yield made
    made.ledger.close()
    app.close()


@pytest.fixture
def shop(settings_env: dict[str, str], tmp_path: Path) -> Iterator[Workshop]:
    """An empty installation."""
    with workshop(settings_env, tmp_path) as made:
        yield made


@pytest.fixture
def trainings(shop: Workshop) -> Trainings:
    """Trainings in that installation."""
    return Trainings(shop)


@pytest.fixture
def grouped(settings_env: dict[str, str], tmp_path: Path) -> Iterator[Trainings]:
    """Trainings of a worker that has a group of three devices."""
    with workshop(settings_env, tmp_path, CPU.joined([CPU, CPU])) as made:
        yield Trainings(made)
