"""One API for all tests of this folder, with a Valkey and a bucket of its own.

The session's Valkey will not do: tests of other folders, which may run between two files of this one, empty it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Services, server_alone
from tests.integration.serving.serving import RunningApi

#: Short enough for tests, long enough for a busy machine.
BODY_SILENCE_SECONDS = 3

Starter = Callable[..., RunningApi]


@pytest.fixture(scope="session")
def ledger_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey that nobody else writes to."""
    with server_alone(tmp_path_factory.mktemp("serving-valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def start_api(
    services: Services, ledger_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Starter]:
    """Starts an API with further settings; all share one ledger and one bucket."""
    folder: Path = tmp_path_factory.mktemp("serving")
    common = {
        **services.settings_env,
        "TEXTMILL_REDIS_URL": ledger_url,
        "TEXTMILL_S3_BUCKET": f"serving-{secrets.token_hex(6)}",
        "TEXTMILL_API_BODY_SILENCE_SECONDS": str(BODY_SILENCE_SECONDS),
    }
    started: list[RunningApi] = []

    def start(**more: str) -> RunningApi:
        api = RunningApi(folder, {**common, **more})
        started.append(api)
        api.start()
        return api

    yield start
    for api in started:
        api.end()


@pytest.fixture(scope="session")
def api(start_api: Starter) -> RunningApi:
    """Two processes, as behind a load."""
    return start_api(TEXTMILL_API_PROCESSES="2")
