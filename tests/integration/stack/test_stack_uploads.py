"""Uploads by parts and presigned transfers over HTTP, and large files through the SDK and the command."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from bench.peaks import can_measure, forget_peaks, peak_bytes
from tests.integration.stack import commands
from tests.integration.stack.dialogue import problem
from tests.integration.stack.running import RunningStack, wait_for
from textmill import AsyncTextmill, Event, File, Textmill

PART = 8 << 20
NO_UPLOAD = "upload_" + "0" * 26

#: A large file of the tests: nine parts and a bit.
LARGE = 9 * PART + 4321


def data(size: int, seed: int = 0) -> bytes:
    """Bytes that nothing can compress or mix up."""
    return random.Random(seed).randbytes(size)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def begin(http: httpx.Client, **given: Any) -> dict[str, Any]:
    reply = http.post("/v1/uploads", json={"filename": "a.jsonl", **given})
    assert reply.status_code == 201, reply.text
    upload = cast("dict[str, Any]", reply.json())
    assert reply.headers["Location"] == f"/v1/uploads/{upload['id']}"
    return upload


def put(
    http: httpx.Client, upload: dict[str, Any], number: object, content: bytes
) -> httpx.Response:
    return http.put(f"/v1/uploads/{upload['id']}/parts/{number}", content=content)


def complete(http: httpx.Client, upload: dict[str, Any], **given: Any) -> httpx.Response:
    path = f"/v1/uploads/{upload['id']}/complete"
    return http.post(path, json=given) if given else http.post(path)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.bin"
    path.write_bytes(data(LARGE, seed=7))
    return path


def test_from_parts_to_a_file(http: httpx.Client) -> None:
    content = data(PART + 1000)
    upload = begin(http, bytes=len(content))
    assert (upload["status"], upload["part_bytes"]) == ("open", PART)
    second = put(http, upload, 2, content[PART:])
    assert second.json() == {"number": 2, "bytes": 1000, "sha256": sha256(content[PART:])}
    shown = http.get(f"/v1/uploads/{upload['id']}").json()
    assert [part["number"] for part in shown["parts"]] == [2]
    assert upload["id"] in [one["id"] for one in http.get("/v1/uploads").json()["data"]]
    problem(complete(http, upload), 409, "conflict")
    assert put(http, upload, 1, content[:PART]).status_code == 200
    problem(complete(http, upload, sha256="0" * 64), 422, "invalid_request", "sha256")
    file = complete(http, upload, sha256=sha256(content)).json()
    assert (file["id"], file["bytes"]) == (upload["file_id"], len(content))
    assert http.get(f"/v1/files/{file['id']}/content").content == content
    assert complete(http, upload).json() == file
    after = http.get(f"/v1/uploads/{upload['id']}").json()
    assert (after["status"], after["file_id"], after["parts"]) == ("completed", file["id"], [])
    assert upload["id"] not in [one["id"] for one in http.get("/v1/uploads").json()["data"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filename"),
        ({"filename": ""}, "filename"),
        ({"filename": "a/b"}, "filename"),
        ({"filename": "..\\x"}, "filename"),
        ({"filename": ".."}, "filename"),
        ({"filename": "a\nb"}, "filename"),
        ({"filename": "a" * 256}, "filename"),
        ({"filename": "a", "bytes": 0}, "bytes"),
        ({"filename": "a", "bytes": -1}, "bytes"),
        ({"filename": "a", "bytes": "5"}, "bytes"),
        ({"filename": "a", "bytes": 1.5}, "bytes"),
        ({"filename": "a", "bytes": 10**30}, "bytes"),
        ({"filename": "a", "sha256": "abc"}, "sha256"),
        ({"filename": "a", "sha256": "A" * 64}, "sha256"),
        ({"filename": "a", "part_bytes": 1}, "part_bytes"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/files?presign=true"])
def test_what_cannot_be_begun(
    http: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    problem(http.post(path, json=body), 422, "invalid_request", field)


def test_what_is_over_the_limit_cannot_be_begun(http: httpx.Client) -> None:
    for path in ("/v1/uploads", "/v1/files?presign=true"):
        problem(http.post(path, json={"filename": "a", "bytes": 1 << 40}), 413, "too_large")
    huge = {"filename": "a", "bytes": 6 << 30}
    problem(http.post("/v1/files?presign=true", json=huge), 413, "too_large")


def test_parts_that_are_refused(http: httpx.Client) -> None:
    upload = begin(http)
    path = f"/v1/uploads/{upload['id']}/parts"
    for number in ("0", "10001", "-1", "1.5", "x", "1e3", "\u0661", "9" * 40, "%00"):
        problem(http.put(f"{path}/{number}", content=b"x"), 422, "invalid_request", "number")
    problem(http.put(f"{path}/1", content=b""), 422, "invalid_request", "body")
    problem(http.put(f"{path}/1", content=bytes(PART + 1)), 413, "too_large")
    coded = http.put(f"{path}/1", content=b"x", headers={"Content-Encoding": "gzip"})
    problem(coded, 415, "unsupported_media_type")
    problem(http.put(f"{path}/1", content=iter([b"x"])), 411, "length_required")
    problem(http.put(f"{path}/1?x=1", content=b"x"), 422, "invalid_request", "x")
    assert http.get(f"/v1/uploads/{upload['id']}").json()["parts"] == []
    assert http.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    for reply in (
        http.delete(f"/v1/uploads/{upload['id']}"),
        http.get(f"/v1/uploads/{upload['id']}"),
        put(http, upload, 1, b"x"),
        complete(http, upload),
        http.get(f"/v1/uploads/{NO_UPLOAD}"),
        http.get("/v1/uploads/..%2Fkeys"),
        http.post(f"/v1/uploads/{upload['file_id']}/complete"),
        http.post(f"/v1/files/{upload['id']}/complete"),
        http.post(f"/v1/files/{upload['file_id']}/complete"),
    ):
        problem(reply, 404, "not_found")


def test_a_part_whose_sender_goes_away_is_not_there(
    stack: RunningStack, http: httpx.Client
) -> None:
    upload = begin(http)
    at = urlsplit(stack.client.url)
    with socket.create_connection((at.hostname or "", at.port or 0)) as line:
        head = (
            f"PUT /v1/uploads/{upload['id']}/parts/1 HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {stack.client.api_key}\r\nContent-Length: 3000000\r\n\r\n"
        )
        line.sendall(head.encode() + bytes(2_000_000))
    assert put(http, upload, 1, b"whole").status_code == 200
    assert complete(http, upload).json()["sha256"] == sha256(b"whole")


def test_completing_goes_on_after_the_api_was_killed(
    stack: RunningStack, http: httpx.Client
) -> None:
    content = data(2 * PART + 5)
    upload = begin(http)
    assert put(http, upload, 1, content[:PART]).status_code == 200
    _kill_api(stack)
    _await_api(http)
    for number in (2, 3):
        at = (number - 1) * PART
        assert put(http, upload, number, content[at : at + PART]).status_code == 200
    with (
        httpx.Client(
            base_url=http.base_url, headers=http.headers, trust_env=False, timeout=0.02
        ) as hasty,
        pytest.raises(httpx.TransportError),
    ):
        hasty.post(f"/v1/uploads/{upload['id']}/complete")
    _kill_api(stack)
    _await_api(http)
    assert complete(http, upload).json()["sha256"] == sha256(content)


def test_a_file_put_to_the_store_itself(http: httpx.Client) -> None:
    content = data(100_000)
    asked = {"filename": "b.csv", "bytes": len(content), "sha256": sha256(content)}
    reply = http.post("/v1/files?presign=true", json=asked)
    assert reply.status_code == 200
    made = reply.json()
    problem(http.get(f"/v1/files/{made['id']}"), 404, "not_found")
    problem(http.post(made["links"]["complete"]), 409, "conflict")
    request = made["upload"]
    stored = httpx.request(
        request["method"],
        request["url"],
        headers=request["headers"],
        content=content,
        trust_env=False,
    )
    assert stored.status_code == 200
    file = http.post(made["links"]["complete"], json={"sha256": sha256(content)}).json()
    assert (file["id"], file["filename"]) == (made["id"], "b.csv")
    assert http.post(made["links"]["complete"]).json() == file
    assert http.get(f"/v1/files/{file['id']}/content").content == content
    assert made["id"] not in [one["id"] for one in http.get("/v1/uploads").json()["data"]]
    for body in (b"", b"[]", b"{"):
        headers = {"Content-Type": "application/json"}
        reply = http.post("/v1/files?presign=true", content=body, headers=headers)
        assert reply.status_code in (400, 422), reply.text


def test_a_file_by_way_of_the_store(http: httpx.Client) -> None:
    name = 'a "b" \u00e4.jsonl'
    file = http.post("/v1/files", params={"filename": name}, content=b"12345").json()
    path = f"/v1/files/{file['id']}/content"
    reply = http.get(path, params={"redirect": "true"})
    assert (reply.status_code, reply.content) == (307, b"")
    assert reply.headers["Cache-Control"] == "no-store"
    stored = httpx.get(reply.headers["Location"], trust_env=False)
    assert stored.content == b"12345"
    assert stored.headers["Content-Disposition"] == 'attachment; filename="a _b_ _.jsonl"'
    assert stored.headers["Content-Type"] == "application/octet-stream"
    followed = http.get(path, params={"redirect": "true"}, follow_redirects=True)
    assert followed.content == b"12345"
    head = http.head(path, params={"redirect": "true"})
    assert httpx.head(head.headers["Location"], trust_env=False).status_code == 200
    problem(http.get(path, params={"redirect": "maybe"}), 422, "invalid_request", "redirect")
    none = "file_" + "0" * 26
    problem(http.get(f"/v1/files/{none}/content?redirect=true"), 404, "not_found")


def test_conditions_and_ranges_of_a_file(http: httpx.Client) -> None:
    file = http.post("/v1/files", params={"filename": "a"}, content=b"0123456789").json()
    path, etag = f"/v1/files/{file['id']}/content", f'"{file["sha256"]}"'
    assert http.get(path).headers["ETag"] == etag
    same = http.get(path, headers={"If-None-Match": etag})
    assert (same.status_code, same.content) == (304, b"")
    assert http.head(path, headers={"If-None-Match": etag}).status_code == 304
    for asked, expected in {"bytes=2-3": b"23", "bytes=8-": b"89", "bytes=-3": b"789"}.items():
        part = http.get(path, headers={"Range": asked, "If-Range": etag})
        assert (part.status_code, part.content) == (206, expected)
    whole = http.get(path, headers={"Range": "bytes=2-3", "If-Range": '"other"'})
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    problem(http.get(path, headers={"Range": "bytes=10-"}), 416, "range_not_satisfiable")
    problem(http.get(path, headers={"Range": "bytes=0-1,4-5"}), 416, "range_not_satisfiable")
    assert http.head(path, headers={"Range": "bytes=2-3"}).headers["Content-Length"] == "10"


# --- large files through the client --------------------------------------------------------------


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
    _kill_api(stack)  # and this time the connections break
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert f'"sha256": "{sha256(large.read_bytes())}"' in out.decode()
    _await_api(http)
    assert _uploads(http, name) == []


def test_the_async_client_goes_on_with_an_upload_and_follows_a_job(
    stack: RunningStack, http: httpx.Client, large: Path
) -> None:
    killed: list[int] = []

    def kill_once(sent: int, size: int | None) -> None:
        if not killed and sent > LARGE // 2:
            killed.append(sent)
            _kill_api(stack)

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


def _kill_api(stack: RunningStack) -> None:
    master = stack.process("api")
    assert master is not None
    for process in (master, *master.children()):
        process.kill()


def _await_api(http: httpx.Client) -> None:
    def ready() -> bool:
        try:
            return http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    wait_for(ready, 60)


def _peak_until_end(process: subprocess.Popen[bytes]) -> int:
    """The most that a process held until it ended, well."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_bytes([process.pid]))
        time.sleep(0.01)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return peak
