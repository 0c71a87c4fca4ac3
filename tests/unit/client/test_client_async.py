"""What is the async client's own: that it has all that the sync one has, cancelling, and many things at once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import io
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client.either import QUICK, Either
from tests.unit.client.scripted import (
    FILE_ID,
    JOB,
    JOB_ID,
    KEY,
    Answer,
    Request,
    ScriptedServer,
    job,
    problem,
    ranged,
    reply,
)
from tests.unit.client.shell import uploaded
from textmill import (
    AsyncJob,
    AsyncTextmill,
    ConnectionFailed,
    InputError,
    Job,
    Textmill,
    TransferFailed,
)

#: Parameters that either may have alone.
OPTIONAL = {"Files": {"download": {"progress"}}}


def _methods(of: type) -> dict[str, dict[str, Any]]:
    """Public methods with their parameters' defaults."""
    found = inspect.getmembers(of, inspect.isfunction)
    return {
        name: {one.name: one.default for one in inspect.signature(method).parameters.values()}
        for name, method in found
        if not name.startswith("_")
    }


PAIRS: list[tuple[type, type]] = [(Textmill, AsyncTextmill), (Job, AsyncJob)]


def _resources() -> list[tuple[type, type]]:
    async def both() -> list[tuple[type, type]]:
        with Textmill("http://localhost:1", KEY) as sync:
            async with AsyncTextmill("http://localhost:1", KEY) as tm:
                return [
                    (type(one), type(getattr(tm, name)))
                    for name, one in vars(sync).items()
                    if not name.startswith("_") and not isinstance(one, str)
                ]

    return asyncio.run(both())


@pytest.mark.parametrize(("sync", "other"), [*PAIRS, *_resources()])
def test_the_async_client_has_all_that_the_sync_one_has(sync: type, other: type) -> None:
    mine, theirs = _methods(sync), _methods(other)
    for method, parameters in OPTIONAL.get(sync.__name__, {}).items():
        for parameter in parameters:
            mine[method].pop(parameter, None)
            theirs[method].pop(parameter, None)
    assert mine == theirs
    assert other.__name__ == f"Async{sync.__name__}"


def test_a_job_from_submission_to_results(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("POST", "/v1/files", uploaded)
    server.on("POST", "/v1/jobs", reply(job("validating"), 201))
    server.on("GET", JOB, reply(job(), ETag='"1"'), reply(job("completed"), ETag='"2"'))
    server.on("GET", f"{JOB}/results", ranged(b'{"index": 0}\n{"index": 1}'))
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "a"}\n' * 50_000)
    seen: list[str] = []

    async def told(one: AsyncJob) -> None:
        await asyncio.sleep(0)
        seen.append(one.status)

    async def run() -> list[dict[str, Any]]:
        async with AsyncTextmill(server.url, KEY, retry=QUICK) as tm:
            made = await tm.jobs.create(kind="classify", model="m", input="rows.jsonl")
            ended = await made.wait(progress=told)
            await ended.download("out.csv", format="jsonl")
            return [row async for row in ended.results()]

    assert asyncio.run(run()) == [{"index": 0}, {"index": 1}]
    assert seen == ["validating", "in_progress", "completed"]
    (upload,) = server.asked("POST", "/v1/files")
    assert upload.body_bytes == 14 * 50_000
    (submission,) = server.asked("POST", "/v1/jobs")
    assert submission.json["input"] == {"file": FILE_ID}
    assert (tmp_path / "out.csv").read_bytes() == b'{"index": 0}\n{"index": 1}'


@pytest.mark.parametrize(
    ("source", "entry"),
    [
        (["a", {"text": "b"}], {"items": [{"text": "a"}, {"text": "b"}]}),
        ("s3://bucket/x", {"uri": "s3://bucket/x"}),
        (FILE_ID, {"file": FILE_ID}),
        (["x" * 2000] * 500, {"file": FILE_ID}),
        (["x"] * 1001, {"file": FILE_ID}),
    ],
)
def test_sources(server: ScriptedServer, either: Either, source: Any, entry: Any) -> None:
    server.on("POST", "/v1/jobs", reply(job(), 201))
    server.on("POST", "/v1/files", uploaded)
    either(lambda tm: tm.jobs.create(kind="classify", input=source))
    assert server.requests[-1].json["input"] == entry


@pytest.mark.parametrize("source", [[], [1], "http://x/y", "none.jsonl", b"abc", io.StringIO(), 5])
def test_what_is_no_source(server: ScriptedServer, either: Either, source: Any) -> None:
    with pytest.raises(InputError):
        either(lambda tm: tm.jobs.create(kind="classify", input=source))
    with pytest.raises(InputError, match="idempotency key"):
        either(lambda tm: tm.jobs.create(kind="c", input=source, idempotency_key="a b"))
    assert server.requests == []


def test_a_file_that_is_there_already_is_not_sent_again(
    server: ScriptedServer, either: Either, tmp_path: Path
) -> None:
    content = b'{"text": "a"}\n'
    (tmp_path / "rows.jsonl").write_bytes(content)
    known = {"id": FILE_ID, "filename": "rows.jsonl", "bytes": 14}
    known["sha256"] = hashlib.sha256(content).hexdigest()
    server.on("GET", "/v1/files", reply({"data": [{**known, "filename": "x"}, known]}))
    server.on("POST", "/v1/jobs", reply(job(), 201))
    either(lambda tm: tm.jobs.create(kind="c", input="rows.jsonl", idempotency_key="k"))
    assert server.requests[-1].json["input"] == {"file": FILE_ID}


def test_a_broken_upload_is_sent_again(
    server: ScriptedServer, either: Either, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(os.urandom(1 << 20))
    lost = Answer(raw=b"")
    server.on("POST", "/v1/files", lost, problem(503, "unavailable", "away"), uploaded)
    assert either(lambda tm: tm.files.upload("a.bin")).bytes == 1 << 20
    assert [one.body_bytes for one in server.requests] == [1 << 20] * 3


def test_a_damaged_download_leaves_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    record = {
        "id": FILE_ID,
        "filename": "a",
        "bytes": 3,
        "sha256": hashlib.sha256(b"abc").hexdigest(),
    }
    server.on("GET", f"/v1/files/{FILE_ID}", reply(record))
    server.on("GET", f"/v1/files/{FILE_ID}/content", Answer(body=b"abd"), Answer(body=b"abc"))
    (tmp_path / "a").write_bytes(b"old")
    seen: list[tuple[int, int | None]] = []

    async def run() -> None:
        async with AsyncTextmill(server.url, KEY, retry=QUICK) as tm:
            with pytest.raises(TransferFailed, match="checksums differ"):
                await tm.files.download(FILE_ID, "a")
            assert [path.name for path in tmp_path.iterdir()] == ["a"]  # noqa: ASYNC240 - quick
            assert (tmp_path / "a").read_bytes() == b"old"
            await tm.files.download(FILE_ID, "a", progress=lambda *now: seen.append(now))

    asyncio.run(run())
    assert (tmp_path / "a").read_bytes() == b"abc"
    assert seen == [(3, 3)]


def test_cancelling_is_clean(server: ScriptedServer, tmp_path: Path) -> None:
    """Whatever is cancelled, the client goes on working, and nothing is left on the disk."""
    slow = Answer(body=b'{"index": 0}\n' * 1000, pace=0.01)
    server.on("GET", JOB, reply(job(), ETag='"1"'), Answer(body=b"{}", after=2.0))
    server.on("GET", f"{JOB}/results", slow)
    server.on("GET", "/v1/workers", reply({"data": []}))

    async def run() -> None:
        async with AsyncTextmill(server.url, KEY, retry=QUICK) as tm:
            found = await tm.jobs.get(JOB_ID)
            for work in (found.wait(), found.download("out.jsonl"), _first(found.results())):
                task = asyncio.ensure_future(work)
                await asyncio.sleep(0.2)
                task.cancel()
                began = time.monotonic()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert time.monotonic() - began < 1
                assert await tm.workers.list() == ()

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


async def _first(rows: Any) -> None:
    async for _ in rows:
        await asyncio.sleep(60)


def test_many_wait_at_once(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """More waits than a client holds open: each gets its turn, and other calls are not kept waiting."""
    monkeypatch.setattr("textmill.waiting.POLLS_AT_ONCE", 10)
    monkeypatch.setattr("textmill.aio.waiting.POLLS_AT_ONCE", 10)
    waits, held = 50, 0
    open_now: list[int] = [0]
    most, lock, seen, ended = 0, threading.Lock(), threading.Event(), threading.Event()
    turns: set[str] = set()

    def poll(request: Request) -> Answer:
        nonlocal held, most
        if ended.is_set():
            return reply(job("completed"), ETag='"2"')
        if "if-none-match" in request.headers:
            with lock:
                held, open_now[0] = held + 1, open_now[0] + 1
                most = max(most, open_now[0])
                if held == 2 * waits:
                    seen.set()
            turns.add(request.query["wait"])
            time.sleep(0.02)
            with lock:
                open_now[0] -= 1
        return reply(job(), ETag='"1"')

    server.on("GET", JOB, poll)
    server.on("GET", "/v1/workers", reply({"data": []}))

    async def run() -> set[str]:
        async with AsyncTextmill(server.url, KEY, retry=QUICK) as tm:
            found = await tm.jobs.get(JOB_ID)
            tasks = [asyncio.create_task(found.wait()) for _ in range(waits)]
            await asyncio.to_thread(seen.wait, 60)
            await asyncio.wait_for(tm.workers.list(), 5)
            ended.set()
            return {one.status for one in await asyncio.gather(*tasks)}

    assert asyncio.run(run()) == {"completed"}
    assert most <= 10
    assert turns == {
        "5"
    }  # a fifth of a long poll's 25 s: there are five times as many as may be held


def test_a_wait_of_no_time_looks_once(server: ScriptedServer, either: Either) -> None:
    server.on("GET", JOB, reply(job("completed")))
    assert either(lambda tm: tm.jobs.wait(tm.jobs.adopt(job("completed")), timeout=0)).ended
    assert server.requests == []


def test_an_untrusted_certificate_is_not_tried_again(tmp_path: Path) -> None:
    """Said at once, with what to do about it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to distrust")
    make = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost"
    subprocess.run(["openssl", *make.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    accepted: list[int] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                accepted.append(1)
                with connection, contextlib.suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        for is_async in (False, True):
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            with (
                Either(url, is_async=is_async) as either,
                pytest.raises(ConnectionFailed, match="certificate is not trusted") as caught,
            ):
                either(lambda tm: tm.jobs.get(JOB_ID))
            assert caught.value.lasting
        listener.shutdown(socket.SHUT_RDWR)
    assert len(accepted) == 2
