"""Large files go by parts: several at once, each whole, and what the server has already is not sent again."""

from __future__ import annotations

import hashlib
import io
import threading
import tracemalloc
from pathlib import Path

import pytest

from tests.unit.client.either import Either
from tests.unit.client.scripted import Answer, Request, ScriptedServer, problem, reply
from tests.unit.client.shell import stored
from textmill import ConnectionFailed, InvalidRequest, TransferFailed, parcel
from textmill.parcel import AT_ONCE

UPLOAD_ID = "upload_01k5b3w7m3v9q8z2c4x6t1n0rb"
UPLOAD = f"/v1/uploads/{UPLOAD_ID}"
PART = 300_000
CONTENT = b"".join(n.to_bytes(4, "big") for n in range(400_000))  # 1.6 MB: 6 parts
NAME = "big.jsonl"


class Parts:
    """What a server does with one upload by parts."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.have: dict[int, bytes] = {}
        self.begun = 0
        self.faults: dict[int, list[Answer]] = {}  #: how parts are answered before they are taken
        self._lock = threading.Lock()
        server.on("POST", "/v1/uploads", self._begin)
        server.on("GET", "/v1/uploads", self._list)
        server.on("GET", UPLOAD, self._show)
        server.on("POST", f"{UPLOAD}/complete", self._complete)
        server.on("DELETE", UPLOAD, Answer(status=204))
        for number in range(1, 7):
            server.on("PUT", f"{UPLOAD}/parts/{number}", self._put)

    @property
    def sent(self) -> list[int]:
        """Numbers of the parts that were sent."""
        asked = [one.path for one in self.server.requests if one.method == "PUT"]
        return sorted(int(path.rpartition("/")[2]) for path in asked)

    def _shown(self) -> dict[str, object]:
        size = {"bytes": len(CONTENT), "part_bytes": PART}
        return {"id": UPLOAD_ID, "status": "open", "filename": NAME, **size}

    def _begin(self, request: Request) -> Answer:
        assert request.json == {"filename": NAME, "bytes": len(CONTENT)}
        self.begun += 1
        return reply(self._shown(), 201)

    def _list(self, _request: Request) -> Answer:
        other = {**self._shown(), "id": "upload_other", "bytes": 5}
        data = [other, self._shown()] if self.have else []
        return reply({"data": data, "has_more": False, "next_after": None})

    def _show(self, _request: Request) -> Answer:
        parts = [
            {"number": number, "bytes": len(one), "sha256": hashlib.sha256(one).hexdigest()}
            for number, one in sorted(self.have.items())
        ]
        return reply({**self._shown(), "parts": parts})

    def _put(self, request: Request) -> Answer:
        number = int(request.path.rpartition("/")[2])
        with self._lock:
            if self.faults.get(number):
                return self.faults[number].pop(0)
            self.have[number] = request.body
        digest = hashlib.sha256(request.body).hexdigest()
        return reply({"number": number, "bytes": len(request.body), "sha256": digest})

    def _complete(self, request: Request) -> Answer:
        whole = b"".join(one for _, one in sorted(self.have.items()))
        if request.json["sha256"] != hashlib.sha256(whole).hexdigest():
            wrong = [{"field": "sha256", "reason": "another", "value": None}]
            return problem(422, "invalid_request", "sha256: another", errors=wrong)
        return reply(stored(NAME, whole))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcel, "PARTS_FROM", 1_000_000)


@pytest.fixture
def parts(server: ScriptedServer) -> Parts:
    return Parts(server)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / NAME
    made.write_bytes(CONTENT)
    return made


def test_a_large_file_goes_by_parts(parts: Parts, either: Either, path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    file = either(
        lambda tm: tm.files.upload(path, progress=lambda sent, size: seen.append((sent, size)))
    )
    assert parts.sent == [1, 2, 3, 4, 5, 6]
    assert b"".join(one for _, one in sorted(parts.have.items())) == CONTENT
    assert file.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    puts = [one for one in parts.server.requests if one.method == "PUT"]
    assert sorted(int(one.headers["content-length"]) for one in puts) == [100_000, *[PART] * 5]


def test_a_file_from_where_it_stands(parts: Parts, either: Either) -> None:
    source = io.BytesIO(b"skipped" + CONTENT)
    source.seek(len(b"skipped"))
    either(lambda tm: tm.files.upload(source, filename=NAME))
    assert b"".join(one for _, one in sorted(parts.have.items())) == CONTENT


def test_a_small_file_and_a_pipe_go_in_one_request(server: ScriptedServer, either: Either) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    server.on("POST", "/v1/files", reply(stored("a", CONTENT), 201))
    either(lambda tm: tm.files.upload(Pipe(CONTENT), filename="a"))
    server.on("POST", "/v1/files", reply(stored("a", b"small"), 201))
    either(lambda tm: tm.files.upload(io.BytesIO(b"small"), filename="a"))
    assert [one.path for one in server.requests] == ["/v1/files"] * 2


def test_parts_that_fail_are_sent_again(parts: Parts, either: Either, path: Path) -> None:
    away = problem(503, "unavailable", "the store is away")
    broken = Answer(body=b"x", cut_after=0)
    parts.faults = {2: [away] * 6, 5: [broken] * 3, 6: [Answer(status=502)]}
    either(lambda tm: tm.files.upload(path))
    assert parts.sent == [1, *[2] * 7, 3, 4, *[5] * 4, 6, 6]


def test_another_process_goes_on(parts: Parts, either: Either, path: Path) -> None:
    parts.have = {1: CONTENT[:PART], 4: CONTENT[3 * PART : 4 * PART]}
    seen: list[int] = []
    either(lambda tm: tm.files.upload(path, progress=lambda sent, _size: seen.append(sent)))
    assert parts.sent == [2, 3, 5, 6]
    assert parts.begun == 0
    assert seen[0] == 2 * PART


def test_an_upload_of_other_content_is_left_alone(parts: Parts, either: Either, path: Path) -> None:
    parts.have = {1: CONTENT[:PART], 4: CONTENT[:PART]}
    either(lambda tm: tm.files.upload(path))
    assert parts.begun == 1
    assert parts.sent == [1, 2, 3, 4, 5, 6]


def test_a_server_that_stays_away_ends_the_upload(parts: Parts, either: Either, path: Path) -> None:
    parts.faults = {3: [Answer(body=b"x", cut_after=0)] * 100_000}
    with pytest.raises(ConnectionFailed) as caught:
        either(lambda tm: tm.files.upload(path), attempts=2, outage_seconds=0.3)
    assert "kept for a day" in str(caught.value)
    assert parts.server.asked("DELETE", UPLOAD) == []


def test_a_refused_part_ends_the_upload_at_once(parts: Parts, either: Either, path: Path) -> None:
    parts.faults = {1: [problem(413, "too_large", "over the limit")]}
    with pytest.raises(InvalidRequest, match="over the limit"):
        either(lambda tm: tm.files.upload(path))
    assert len(parts.sent) <= 2 * AT_ONCE
    assert parts.server.asked("POST", f"{UPLOAD}/complete") == []


def test_a_part_that_arrives_damaged_is_an_error(parts: Parts, either: Either, path: Path) -> None:
    parts.faults = {2: [reply({"number": 2, "bytes": PART, "sha256": "0" * 64})]}
    with pytest.raises(TransferFailed, match=f"part 2 of {NAME}"):
        either(lambda tm: tm.files.upload(path))


def test_a_file_that_changes_meanwhile_is_an_error(parts: Parts, either: Either) -> None:
    parts.have = {1: CONTENT[:PART]}
    source = io.BytesIO(CONTENT)

    def change(sent: int, _size: int | None) -> None:
        # The first part was compared with what the server has, and is not sent again.
        with source.getbuffer() as view:
            view[0:1] = b"y"

    with pytest.raises(TransferFailed, match="changed while it was sent"):
        either(lambda tm: tm.files.upload(source, filename=NAME, progress=change))
    assert len(parts.server.asked("DELETE", UPLOAD)) == 1


def test_parts_take_bounded_memory(server: ScriptedServer, either: Either, tmp_path: Path) -> None:
    size, part_bytes = 96 << 20, 16 << 20
    path = tmp_path / "zeros"
    with path.open("wb") as sink:
        sink.truncate(size)
    shown = {"id": UPLOAD_ID, "filename": "zeros", "bytes": size, "part_bytes": part_bytes}
    server.on("GET", "/v1/uploads", reply({"data": [], "has_more": False, "next_after": None}))
    server.on("POST", "/v1/uploads", reply(shown, 201))
    digest = hashlib.sha256(bytes(part_bytes)).hexdigest()
    for number in range(1, 7):
        server.on("PUT", f"{UPLOAD}/parts/{number}", reply({"sha256": digest}))

    def complete(request: Request) -> Answer:
        return reply({**stored("zeros", b""), "sha256": request.json["sha256"]})

    server.on("POST", f"{UPLOAD}/complete", complete)
    tracemalloc.start()
    either(lambda tm: tm.files.upload(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(one.body_bytes for one in server.requests if one.method == "PUT") == size
    assert peak < 16 << 20  # the server of this test keeps 1 MiB of each part
