"""Downloads go on where they broke off, and files appear whole or not at all."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from tests.unit.client.scripted import (
    FILE_ID,
    JOB_ID,
    Answer,
    Request,
    ScriptedServer,
    job,
    problem,
    ranged,
    reply,
)
from tests.unit.client.shell import stored
from textmill import Conflict, ConnectionFailed, Textmill, TransferFailed, Unavailable
from textmill.download import json_lines, save
from textmill.partial import Kept, PartialFile

RESULTS = f"/v1/jobs/{JOB_ID}/results"
ROWS = [{"custom_id": f"r-{n}", "index": n, "output": {"label": "ä€🎈" * 9}} for n in range(3000)]
CONTENT = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_broken_download_goes_on_by_range(
    server: ScriptedServer, tm: Textmill, chunked: bool
) -> None:
    server.on("GET", RESULTS, ranged(CONTENT, breaks=(70_001, 0, 90_003), chunked=chunked))
    server.on("GET", f"/v1/jobs/{JOB_ID}", reply(job("completed")))
    assert list(tm.jobs.get(JOB_ID).results()) == ROWS
    asked = [request.headers.get("range") for request in server.asked("GET", RESULTS)]
    assert asked[0] is None
    assert asked[-1] == "bytes=160004-"
    assert len(asked) == 4
    assert all(one.headers["accept-encoding"] == "identity" for one in server.asked("GET", RESULTS))


def test_a_break_right_after_the_last_byte_is_no_loss(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", RESULTS, ranged(CONTENT, breaks=(len(CONTENT),), chunked=True))
    assert b"".join(tm.jobs.content(JOB_ID, "results")) == CONTENT


def test_a_server_without_range_is_read_past_what_is_known(
    server: ScriptedServer, tm: Textmill
) -> None:
    whole = {"ETag": '"v1"'}
    server.on(
        "GET",
        RESULTS,
        Answer(body=CONTENT, headers=whole, cut_after=100_000),
        Answer(body=CONTENT, headers=whole),
    )
    assert b"".join(tm.jobs.content(JOB_ID, "results")) == CONTENT


def test_a_download_never_mixes_two_versions(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    server.on("GET", RESULTS, ranged(CONTENT, breaks=(1000,)), ranged(CONTENT.upper(), etag='"v2"'))
    with pytest.raises(TransferFailed, match="changed"):
        tm.jobs.download(JOB_ID, tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_without_an_etag_the_size_must_agree(server: ScriptedServer, tm: Textmill) -> None:
    longer = CONTENT + b"{}\n"
    server.on("GET", RESULTS, ranged(CONTENT, etag=None, breaks=(1000,)), ranged(longer, etag=None))
    with pytest.raises(TransferFailed):
        list(tm.jobs.content(JOB_ID, "results"))


def test_partial_results_are_never_pieced_together(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", RESULTS, ranged(CONTENT, breaks=(1000,)))
    with pytest.raises(ConnectionFailed):
        list(tm.jobs.rows(JOB_ID, "results", partial=True))
    assert [request.query for request in server.requests] == [{"partial": "true"}]
    server.on("GET", RESULTS, ranged(CONTENT, breaks=(0,)))
    assert list(tm.jobs.rows(JOB_ID, "results", partial=True)) == ROWS


def test_a_download_that_has_begun_bears_an_outage(server: ScriptedServer, tm: Textmill) -> None:
    honest, away = ranged(CONTENT, breaks=(1000,)), problem(503, "unavailable", "starting")
    server.on("GET", RESULTS, honest, *[away] * 9, honest)
    assert list(tm.jobs.rows(JOB_ID, "results")) == ROWS
    server.on("GET", RESULTS, *[away] * 9, honest)
    with pytest.raises(Unavailable):
        next(tm.jobs.rows(JOB_ID, "results"))


def test_a_server_that_stays_away_ends_the_download(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    server.on("GET", RESULTS, ranged(CONTENT, breaks=(1000, *[0] * 50)))
    target = tmp_path / "out.jsonl"
    target.write_text("what was there before")
    with pytest.raises(ConnectionFailed) as caught:
        tm.jobs.download(JOB_ID, target)
    assert target.read_text() == "what was there before"
    kept = tmp_path / "out.jsonl.part"
    assert kept.read_bytes() == CONTENT[:1000]
    assert str(kept) in str(caught.value)
    server.on("GET", RESULTS, ranged(CONTENT))
    tm.jobs.download(JOB_ID, target)
    last = server.asked("GET", RESULTS)[-1].headers
    assert (last["range"], last["if-range"]) == ("bytes=1000-", '"v1"')
    assert target.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("there", ["another version", "as much as there is", "no note", "a link"])
def test_what_an_earlier_try_left_is_used_only_for_the_same_version(
    server: ScriptedServer, tm: Textmill, tmp_path: Path, there: str
) -> None:
    part, note = tmp_path / "out.jsonl.part", tmp_path / "out.jsonl.part.etag"
    kept = CONTENT if there == "as much as there is" else CONTENT[:5000]
    old = b"x" * 2 * len(CONTENT) if there == "another version" else kept
    if there == "a link":
        (tmp_path / "precious").write_bytes(old)
        part.symlink_to(tmp_path / "precious")
    else:
        part.write_bytes(old)
    if there != "no note":
        note.write_text('"old"\n' if there == "another version" else '"v1"\n')
    honest = ranged(CONTENT)

    def conditional(request: Request) -> Answer:
        if request.headers.get("if-range") == '"old"':
            return Answer(body=CONTENT, headers={"ETag": '"v1"'})
        return honest(request)

    server.on("GET", RESULTS, conditional)
    tm.jobs.download(JOB_ID, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == CONTENT
    assert len(server.requests) == 1
    if there == "a link":
        assert (tmp_path / "precious").read_bytes() == old
    else:
        assert list(tmp_path.iterdir()) == [tmp_path / "out.jsonl"]


def test_two_who_save_to_the_same_path_do_not_mix(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    first = PartialFile.claim(target)
    assert first is not None
    with first:
        first.write(0, b"half", '"v1"')
        assert PartialFile.claim(target) is None
        server.on("GET", RESULTS, ranged(CONTENT))
        tm.jobs.download(JOB_ID, target)
        assert target.read_bytes() == CONTENT
    again = PartialFile.claim(target)
    assert again is not None
    with again:
        assert again.kept == Kept(4, '"v1"')


def test_a_damaged_file_is_not_saved(server: ScriptedServer, tm: Textmill, tmp_path: Path) -> None:
    server.on("GET", f"/v1/files/{FILE_ID}", reply(stored("f", b"other")))
    server.on("GET", f"/v1/files/{FILE_ID}/content", ranged(CONTENT))
    with pytest.raises(TransferFailed, match="checksums"):
        tm.files.download(FILE_ID, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_only_when_it_is_whole(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("what was there before")
    seen: list[str] = []

    def look_while_downloading(_request: Request) -> Answer:
        seen.append(target.read_text())
        return Answer(body=CONTENT[1000:], status=206, headers=rest)

    rest = {"Content-Range": f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    server.on("GET", RESULTS, Answer(body=CONTENT, cut_after=1000), look_while_downloading)
    assert tm.jobs.download(JOB_ID, target) == target
    assert seen == ["what was there before"]
    assert target.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [target]


def test_saving_keeps_links_and_writes_into_devices(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    assert save([b"new", b"er"], link) == 5
    assert link.is_symlink()
    assert real.read_text() == "newer"
    assert save([b"gone"], Path("/dev/null")) == 4
    assert not Path("/dev/null").is_file()


def test_a_fault_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save([b"a", None], tmp_path / "out")  # type: ignore[list-item]  # the fault
    assert list(tmp_path.iterdir()) == []


def test_results_of_a_running_job_are_a_conflict(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", RESULTS, problem(409, "conflict", "the job has not ended; use ?partial=true"))
    with pytest.raises(Conflict, match="has not ended"):
        next(tm.jobs.rows(JOB_ID, "results"))


def test_files_are_downloaded_the_same_way(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    server.on("GET", f"/v1/files/{FILE_ID}", reply(stored("f", CONTENT)))
    server.on("GET", f"/v1/files/{FILE_ID}/content", ranged(CONTENT, breaks=(12_345,)))
    path = tm.files.download(FILE_ID, tmp_path / "f")
    assert path.read_bytes() == CONTENT


def test_lines_may_be_cut_anywhere() -> None:
    for size in (1, 7, 100, len(CONTENT)):
        pieces = (CONTENT[at : at + size] for at in range(0, 20_000, size))
        rows = json_lines(pieces)
        assert [next(rows) for _ in range(20)] == ROWS[:20]
    assert list(json_lines([b'{"a": 1}\n\n{"a"', b": 2}"])) == [{"a": 1}, {"a": 2}]
    with pytest.raises(TransferFailed, match="line 2"):
        list(json_lines([b'{"a": 1}\n{"a"']))


def test_reading_results_takes_bounded_memory(server: ScriptedServer, tm: Textmill) -> None:
    content = CONTENT * 24
    server.on("GET", RESULTS, ranged(content))
    rows = tm.jobs.rows(JOB_ID, "results")
    next(rows)
    tracemalloc.start()
    count = sum(1 for _ in rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == len(ROWS) * 24 - 1
    assert len(content) > 8 << 20
    assert peak < 2 << 20
