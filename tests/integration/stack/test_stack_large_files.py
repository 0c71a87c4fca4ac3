"""Large files through both clients and the command: in bounded memory, and gone on with after a kill."""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from bench.peaks import can_measure, forget_peaks, peak_bytes
from tests.integration.stack import commands
from tests.integration.stack.running import RunningStack, wait_for
from textmill import AsyncTextmill, Event, File, Textmill

#: Nine parts and a bit.
LARGE = 9 * (8 << 20) + 4321


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    path.write_bytes(random.Random(7).randbytes(LARGE))  # nothing can compress it or mix it up
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_large_file_in_bounded_memory(
    stack: RunningStack, http: httpx.Client, large: Path, tmp_path: Path
) -> None:
    if not can_measure():
        pytest.skip("this system does not tell peaks")
    api = _api_pids(stack)
    http.get("/v1/files")
    before = _resident(api)
    forget_peaks(api)
    put_it = commands.started(stack, "files", "put", str(large), "--json", cwd=tmp_path)
    client_put = _peak_until_end(put_it)
    (file,) = [one for one in http.get("/v1/files").json()["data"] if one["bytes"] == LARGE]
    get_it = commands.started(stack, "files", "get", file["id"], "-o", "copy", cwd=tmp_path)
    client_get = _peak_until_end(get_it)
    assert sha256((tmp_path / "copy").read_bytes()) == file["sha256"] == sha256(large.read_bytes())
    grown = peak_bytes(api) - before
    assert grown < 40 << 20, f"the API grew by {grown >> 20} MiB"
    assert max(client_put, client_get) < 150 << 20
    http.delete(f"/v1/files/{file['id']}")


def test_an_upload_that_is_killed_is_gone_on_with(
    stack: RunningStack, http: httpx.Client, large: Path, tmp_path: Path
) -> None:
    name = f"killed-{time.time_ns()}.bin"
    command = ("files", "put", str(large), "--name", name, "--json")
    first = commands.started(stack, *command, cwd=tmp_path)
    wait_for(lambda: first.poll() is not None or len(_arrived(http, name)) >= 2, 60)
    assert first.poll() is None, "it was over too soon"
    first.kill()
    first.communicate()
    arrived = _settled(http, name)
    assert 2 <= len(arrived) < 10
    second = commands.started(stack, *command, cwd=tmp_path)
    wait_for(lambda: second.poll() is not None or len(_arrived(http, name)) > len(arrived), 60)
    assert second.poll() is None, "it was over too soon"
    stack.kill_api()  # and this time the connections break
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert f'"sha256": "{sha256(large.read_bytes())}"' in out.decode()
    stack.await_api()
    assert _uploads(http, name) == []


def test_the_async_client_goes_on_with_an_upload_and_follows_a_job(
    stack: RunningStack, http: httpx.Client, large: Path
) -> None:
    killed: list[int] = []

    def kill_once(sent: int, size: int | None) -> None:
        if not killed and sent > LARGE // 2:
            killed.append(sent)
            stack.kill_api()

    async def run() -> tuple[File, list[Event]]:
        async with AsyncTextmill(stack.client.url, stack.client.api_key) as tm:
            name = f"async-{time.time_ns()}.bin"
            file = await tm.files.upload(large, filename=name, progress=kill_once)
            job = await tm.jobs.create(kind="echo", input=["a", "b"])
            return file, [event async for event in job.events()]

    file, events = asyncio.run(run())
    assert killed
    assert (file.bytes, file.sha256) == (LARGE, sha256(large.read_bytes()))
    assert (events[0].status, events[-1].status) == ("validating", "completed")
    assert _uploads(http, file.filename) == []
    http.delete(f"/v1/files/{file.id}")


def test_a_download_that_is_killed_is_gone_on_with(
    stack: RunningStack, tm: Textmill, large: Path, tmp_path: Path
) -> None:
    file = tm.files.upload(large)
    target, part = tmp_path / "copy", tmp_path / "copy.part"
    command = ("files", "get", file.id, "-o", str(target))
    first = commands.started(stack, *command, cwd=tmp_path)
    wait_for(lambda: first.poll() is not None or (part.exists() and part.stat().st_size), 60)
    first.kill()
    first.communicate()
    assert not target.exists(), "it was over too soon"
    # What arrived is marked, to see that it is not fetched again; the checksum then tells.
    kept = part.stat().st_size
    assert 0 < kept < LARGE
    part.write_bytes(bytes(1000) + part.read_bytes()[1000:])
    spoilt = commands.started(stack, *command, cwd=tmp_path)
    _, err = spoilt.communicate(timeout=120)
    assert spoilt.returncode == 1
    assert b"checksums differ" in err
    assert list(tmp_path.iterdir()) == []
    third = commands.started(stack, *command, cwd=tmp_path)
    assert third.communicate(timeout=120)
    assert sha256(target.read_bytes()) == file.sha256
    tm.files.delete(file.id)


def _settled(http: httpx.Client, name: str) -> Any:
    """What has arrived once nothing is on its way any more."""
    while True:
        arrived = _arrived(http, name)
        time.sleep(1)
        if _arrived(http, name) == arrived:
            return arrived


def _arrived(http: httpx.Client, name: str) -> list[Any]:
    found = _uploads(http, name)
    return http.get(f"/v1/uploads/{found[0]['id']}").json().get("parts", []) if found else []


def _uploads(http: httpx.Client, name: str) -> list[dict[str, Any]]:
    found = http.get("/v1/uploads", params={"limit": "100"}).json()["data"]
    return [one for one in found if one["filename"] == name]


def _api_pids(stack: RunningStack) -> list[int]:
    master = stack.process("api")
    assert master is not None
    return [child.pid for child in master.children()]


def _resident(pids: list[int]) -> int:
    return max(psutil.Process(pid).memory_info().rss for pid in pids)


def _peak_until_end(process: subprocess.Popen[bytes]) -> int:
    """The most that a process held until it ended, well."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_bytes([process.pid]))
        time.sleep(0.01)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return peak
