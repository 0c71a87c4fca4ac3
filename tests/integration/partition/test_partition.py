"""A worker is cut off from Redis, from the store or from both for longer than its lease, while it computes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from tests.integration.partition.network import UNSHARE
from tests.integration.partition.observation import Observation
from tests.integration.partition.scene import LEASE_SECONDS, PARTITIONS, ROWS

ROOT = Path(__file__).parents[3]

#: All partitions take a minute where nothing else runs.
SCENE_SECONDS = 480

#: A machine may be busy, so what should come at once may take so long.
SLACK_SECONDS = 1.5


def obstacle() -> str | None:
    """Why there can be no network namespaces here, or None."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if missing:
        return f"network namespaces need {' and '.join(missing)}"
    cable = ["ip", "link", "add", "tm0", "type", "veth", "peer", "name", "tm1"]
    tried = subprocess.run([*UNSHARE, *cable], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"network namespaces may not be made here: {tried.stderr.strip()}"
    return None


@pytest.fixture(scope="module")
def observations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Observation]:
    """All partitions, one after the other in one stack. Whatever happens, no process outlives the first one."""
    reason = obstacle()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("partition")
    command = [*UNSHARE, sys.executable, "-m", "tests.integration.partition.scene", str(folder)]
    scene = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=SCENE_SECONDS,
    )
    assert scene.returncode == 0, scene.stderr
    found = (folder / "observations.json").read_bytes()
    return TypeAdapter(dict[str, Observation]).validate_json(found)


@pytest.fixture(params=PARTITIONS)
def seen(request: pytest.FixtureRequest, observations: dict[str, Observation]) -> Observation:
    """One partition."""
    return observations[request.param]


pytestmark = pytest.mark.timeout(SCENE_SECONDS + 20)


def test_each_row_is_there_once(seen: Observation) -> None:
    assert (seen.status, seen.errors) == ("completed", 0)
    assert seen.results == tuple(range(ROWS))


def test_the_others_finish_the_job_without_it(seen: Observation) -> None:
    assert seen.mended_at - seen.cut_at > LEASE_SECONDS
    assert seen.taken_over_at is not None
    assert seen.ended_at is not None
    assert seen.cut_at < seen.taken_over_at < seen.ended_at <= seen.mended_at


def test_it_commits_nothing_that_it_began_before(seen: Observation) -> None:
    assert seen.owners, "nobody committed the range"
    assert seen.far_token not in seen.owners


def test_it_computes_again_once_it_is_back(seen: Observation) -> None:
    assert seen.far_again_at > seen.mended_at


@pytest.mark.parametrize("name", ["redis", "both"])
def test_without_redis_it_stops_by_its_own_clock(
    observations: dict[str, Observation], name: str
) -> None:
    seen = observations[name]
    assert not seen.far_finished
    assert seen.far_last_at < seen.cut_at + LEASE_SECONDS + SLACK_SECONDS
    assert seen.stopped_at is not None
    # It says so once the heartbeat that is under way has failed, or has had a lease's time to.
    assert seen.cut_at < seen.stopped_at < seen.cut_at + 2 * LEASE_SECONDS + SLACK_SECONDS
