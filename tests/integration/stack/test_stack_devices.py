"""A host of four GPUs, one of them cut in two, on a stack of its own: a worker for each, pinned, and light.

The GPUs are those of ``tests/plugins/fake_nvml``: NVML has them and torch does not, so no worker may claim anything.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.stack.running import PLUGINS, RunningStack, command, pool_children, wait_for
from textmill import Textmill, Worker

UUIDS = [
    "GPU-00000000-1111-2222-3333-444444444444",
    "GPU-10000000-1111-2222-3333-444444444444",
    "MIG-00000000-aaaa-bbbb-cccc-000000000002",
    "MIG-10000000-aaaa-bbbb-cccc-000000000002",
    "GPU-30000000-1111-2222-3333-444444444444",
]
GIB = 1 << 30


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    plugins = (PLUGINS, PLUGINS / "fake_nvml")
    running = RunningStack(tmp_path_factory.mktemp("gpus"), plugins=plugins)
    try:
        running.start()
        yield running
        running.stop()
    finally:
        running.end()


@pytest.fixture(scope="module")
def client(gpus: RunningStack) -> Iterator[Textmill]:
    with Textmill(gpus.client.url, gpus.client.api_key) as tm:
        yield tm


def model_workers(tm: Textmill) -> list[Worker]:
    return [worker for worker in tm.workers.list() if worker.role == "model"]


def libraries(process: psutil.Process) -> str:
    """The files that a process has mapped."""
    return Path(f"/proc/{process.pid}/maps").read_text()


def doctor(stack: RunningStack) -> str:
    """What ``textmill doctor`` finds wrong."""
    own = {"TEXTMILL_URL": stack.client.url, "TEXTMILL_API_KEY": stack.client.api_key}
    done = subprocess.run(
        [command("textmill"), "doctor"],
        env={**stack.env, **own, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    return done.stdout


def test_one_worker_for_each_pinned_before_it_starts(gpus: RunningStack) -> None:
    parents = gpus.processes("worker")
    pinned = [parent.environ()["CUDA_VISIBLE_DEVICES"] for parent in parents]
    assert sorted(pinned) == sorted(UUIDS)
    for parent, uuid in zip(parents, pinned, strict=True):
        (child,) = pool_children(parent)
        assert child.environ()["CUDA_VISIBLE_DEVICES"] == uuid


def test_workers_say_how_their_devices_do(client: Textmill) -> None:
    by_memory = sorted(
        (worker.gauges["memory_total_bytes"] // GIB, worker.gauges["temperature_celsius"])
        for worker in model_workers(client)
    )
    assert by_memory == [(20, 42), (40, 42), (80, 40), (80, 41), (80, 43)]
    busy = [worker.gauges["utilization_percent"] for worker in model_workers(client)]
    assert sorted(value for value in busy if value is not None) == [0, 10, 30]
    pools = [worker for worker in client.workers.list() if worker.role != "scheduler"]
    assert all((worker.process_bytes or 0) > 10 << 20 for worker in pools)


def test_a_worker_whose_torch_sees_no_such_gpu_claims_nothing(
    gpus: RunningStack, client: Textmill
) -> None:
    job = client.jobs.create(kind="echo", input=[{"text": f"text {n}"} for n in range(100)])
    wait_for(lambda: all(worker.fault for worker in model_workers(client)), 120)
    assert len(model_workers(client)) == 5
    for worker in model_workers(client):
        assert re.search(
            "built without CUDA|torch cannot use|torch sees no GPU", worker.fault or ""
        )
        assert worker.job is None
    # The children have torch by now, the parents never.
    for parent in gpus.processes("worker"):
        assert "libtorch" not in libraries(parent)
        assert "libtorch" in libraries(pool_children(parent)[0])
    assert "libtorch" not in libraries(psutil.Process(gpus.up.pid))
    job = job.refresh()
    assert (job.status, job.counts.completed, job.attempts) == ("in_progress", 0, 1)
    with gpus.redis() as redis:
        assert redis.exists(f"job:{job.id}:leases") == 0
    assert "5 of 5 workers cannot compute" in doctor(gpus)
    job.cancel()
    wait_for(lambda: job.refresh().status == "cancelled", 60)
