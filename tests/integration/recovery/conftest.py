"""One stack for all tests of this folder, of two workers and little patience, on disks that can be filled up."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.recovery.disks import small_disks
from tests.integration.stack.running import TEST_SETTINGS, RunningStack
from textmill import Textmill

#: Model workers.
WORKERS = 2

#: Life of a lease; silence of a process, time that a batch takes, and silence of the store after which they hang. All
#: in seconds.
LEASE_SECONDS = 2
HANG_SECONDS = 6
STALL_SECONDS = 4
SILENCE_SECONDS = 5


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The stack, ready to work. Its end is checked too."""
    data_dir = tmp_path_factory.mktemp("recovery")
    running = RunningStack(
        data_dir,
        workers=WORKERS,
        settings={
            **TEST_SETTINGS,
            "TEXTMILL_LEASE_SECONDS": str(LEASE_SECONDS),
            "TEXTMILL_S3_SILENCE_SECONDS": str(SILENCE_SECONDS),
            "TEXTMILL_HANG_SECONDS": str(HANG_SECONDS),
            "TEXTMILL_STALL_SECONDS": str(STALL_SECONDS),
        },
        within=small_disks(data_dir),
    )
    try:
        running.start()
        yield running
        running.stop()
    finally:
        running.end()


@pytest.fixture(scope="session")
def tm(stack: RunningStack) -> Iterator[Textmill]:
    """The SDK, which waits out a 503 by itself."""
    with Textmill(stack.client.url, stack.client.api_key) as client:
        yield client


@pytest.fixture(scope="session")
def http(stack: RunningStack) -> Iterator[httpx.Client]:
    """Plain HTTP with a valid key, for answers as they come."""
    key = {"Authorization": f"Bearer {stack.client.api_key}"}
    with httpx.Client(
        base_url=stack.client.url, headers=key, trust_env=False, timeout=120
    ) as client:
        yield client
