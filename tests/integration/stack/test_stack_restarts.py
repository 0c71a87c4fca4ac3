"""A stack that was stopped, or killed whole, goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.stack.dialogue import numbered, outcome, upload
from tests.integration.stack.running import RunningStack, wait_for
from textmill import Job, Textmill

ROWS = 3000

#: Seconds within which the last process must have followed a supervisor that was killed.
FOLLOW_SECONDS = 5.0


@pytest.fixture
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path_factory.mktemp("own"))
    try:
        running.start()
        yield running
    finally:
        running.end()


def submit(tm: Textmill, file: str, key: str) -> Job:
    return tm.jobs.create(kind="echo", input=file, params={"delay_ms": 2}, idempotency_key=key)


def under_way(tm: Textmill, file: str, key: str) -> Job:
    job = submit(tm, file, key)
    wait_for(lambda: job.refresh().counts.completed, 60)
    return job


def most_claims(stack: RunningStack, job: Job) -> int:
    """Claims of any one range that ended neither in a commit nor in a release, or have not ended yet."""
    with stack.redis() as ledger:
        return max(map(int, ledger.hgetall(f"job:{job.id}:attempts").values()), default=0)


def test_a_stack_goes_on_after_sigterm_and_after_kill_9(own_stack: RunningStack) -> None:
    stack, client = own_stack, own_stack.client
    with Textmill(client.url, client.api_key) as tm:
        file = upload(tm, numbered(ROWS))
        stopped = under_way(tm, file, "stopped")
    stack.stop()
    stack.start()
    assert stack.client.api_key == client.api_key
    with Textmill(stack.client.url, client.api_key) as tm:
        again = submit(tm, file, "stopped")
        assert again.id == stopped.id
        assert again.ended or most_claims(stack, again) <= 1
        assert len(outcome(again)[0]) == ROWS
        killed = under_way(tm, file, "killed")
    stack.kill()
    wait_for(lambda: not stack.survivors(), FOLLOW_SECONDS)
    stack.start()
    with Textmill(stack.client.url, client.api_key) as tm:
        again = submit(tm, file, "killed")
        assert again.id == killed.id
        assert len(outcome(again)[0]) == ROWS
    stack.stop()
