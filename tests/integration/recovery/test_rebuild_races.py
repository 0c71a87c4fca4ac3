"""Whatever happens while a ledger is built, no half of one is ever taken for the whole."""

from __future__ import annotations

import pytest

from jobs.errors import Unavailable
from jobs.settings import Settings
from jobs.spec import JobSpec
from server.connect import Connections
from storage.installation import Installation
from storage.rebuild import BeingBuilt, Whole, rebuild
from storage.set_up import set_up
from storage.submission import Submissions

JOBS = 5


@pytest.fixture
def connections(settings_env: dict[str, str]) -> Connections:
    """An installation of its own."""
    return Connections.open(Settings.from_environment(settings_env))


@pytest.fixture
def installation(connections: Connections) -> Installation:
    return set_up(connections.store, connections.ledger)


@pytest.fixture
def jobs(connections: Connections, installation: Installation) -> set[str]:
    """Ids of some jobs."""
    store, ledger, broker = connections.store, connections.ledger, connections.broker
    submissions = Submissions(store, ledger, broker, installation)
    spec = JobSpec.model_validate({"kind": "echo", "input": {"items": [{"text": "a"}]}})
    return {submissions.submit("default", spec, None)[0].id for _ in range(JOBS)}


def test_a_ledger_lost_again_while_it_is_built_is_not_called_whole(
    connections: Connections, installation: Installation, jobs: set[str]
) -> None:
    ledger = connections.ledger
    ledger.give_up()
    restored = []

    def lose_it(job_id: str) -> None:
        restored.append(job_id)
        if len(restored) == 2:
            ledger.client.redis.flushall()

    with pytest.raises(Unavailable):
        rebuild(connections.store, ledger, installation.id, lose_it)
    assert ledger.epoch() is None
    found = rebuild(connections.store, ledger, installation.id)
    assert found.jobs == {"validating": JOBS}
    assert ledger.jobs.known(sorted(jobs)) == jobs


def test_whoever_comes_late_leaves_what_was_built(
    connections: Connections,
    installation: Installation,
    jobs: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else ends between the look at the epoch and the lock."""
    store, ledger = connections.store, connections.ledger
    ledger.give_up()
    late = Connections.open(connections.settings).ledger
    lock = late.restoring.lock

    def lock_late(token: str) -> bool:
        rebuild(store, ledger, installation.id)
        return lock(token)

    monkeypatch.setattr(late.restoring, "lock", lock_late)
    with pytest.raises(Whole):
        rebuild(store, late, installation.id)
    assert ledger.jobs.known(sorted(jobs)) == jobs
    ledger.give_up()
    assert rebuild(store, ledger, installation.id).jobs == {"validating": JOBS}


def test_only_one_builds(connections: Connections, installation: Installation) -> None:
    ledger = connections.ledger
    ledger.give_up()
    assert ledger.restoring.lock("somebody")
    with pytest.raises(BeingBuilt):
        rebuild(connections.store, ledger, installation.id)
    ledger.restoring.unlock("somebody else")
    assert not ledger.restoring.renew("somebody else")
    assert ledger.restoring.renew("somebody")
    ledger.restoring.unlock("somebody")
    assert rebuild(connections.store, ledger, installation.id).jobs == {}
