"""One whole stack for all tests of this folder, and clients of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import httpx
import pytest
import urllib3
from minio import Minio

from tests.contract import Contract
from tests.integration.stack.running import RunningStack
from textmill import Textmill


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The embedded stack, ready to work. Its end is checked too."""
    running = RunningStack(tmp_path_factory.mktemp("stack"))
    try:
        running.start()
        yield running
        running.stop()
    finally:
        running.end()


@pytest.fixture(scope="session")
def tm(stack: RunningStack) -> Iterator[Textmill]:
    """The SDK."""
    with Textmill(stack.client.url, stack.client.api_key) as client:
        yield client


@pytest.fixture(scope="session")
def contract(stack: RunningStack) -> Contract:
    """What the OpenAPI document promises."""
    return Contract(httpx.get(f"{stack.client.url}/openapi.json", trust_env=False).json())


@pytest.fixture(scope="session")
def http(stack: RunningStack, contract: Contract) -> Iterator[httpx.Client]:
    """Plain HTTP with a valid key, for what the SDK would not send. Each answer is held to the OpenAPI document."""
    key = {"Authorization": f"Bearer {stack.client.api_key}"}

    def check(response: httpx.Response) -> None:
        # Redirects lead to the object store, which promises nothing.
        if str(response.request.url).startswith(stack.client.url):
            contract.check(response)

    with httpx.Client(
        base_url=stack.client.url,
        headers=key,
        trust_env=False,
        timeout=60,
        event_hooks={"response": [check]},
    ) as client:
        yield client


@pytest.fixture(scope="session")
def s3(stack: RunningStack) -> Iterator[Minio]:
    """The object store."""
    with urllib3.PoolManager() as pool:
        yield stack.minio(pool)


@pytest.fixture
def folder() -> str:
    """A prefix in the bucket ``corpora`` that nobody else uses."""
    return f"{secrets.token_hex(6)}/"
