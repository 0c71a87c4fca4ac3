"""Results in other formats, and what can be done with a job once it has ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.client.scripted import (
    JOB,
    JOB_ID,
    Answer,
    ScriptedServer,
    job,
    problem,
    ranged,
    reply,
)
from tests.unit.client.shell import Shell
from textmill import Conflict, ConnectionFailed, NotFound, Textmill
from textmill.jobs import OutputFormat, format_of

RESULTS = f"{JOB}/results"
CSV = "index,custom_id\r\n0,ä\r\n".encode() * 1000


@pytest.mark.parametrize(
    ("path", "format_"),
    [
        ("out.csv", "csv"),
        ("a.b/OUT.CSV", "csv"),
        ("out.parquet", "parquet"),
        ("out.jsonl", "jsonl"),
        ("out.csv/rows", "jsonl"),
        ("out.txt", "jsonl"),
        ("csv", "jsonl"),
    ],
)
def test_a_names_ending_says_the_format(path: str, format_: OutputFormat) -> None:
    assert format_of(path) == format_of(Path(path)) == format_


def test_a_download_asks_for_the_format_of_its_name(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    server.on("GET", JOB, reply(job("completed")))
    server.on("GET", RESULTS, Answer(body=CSV, chunked=True))
    done = tm.jobs.get(JOB_ID)
    assert done.download("out.csv") == Path("out.csv")
    assert (tmp_path / "out.csv").read_bytes() == CSV
    done.download("out.csv", format="parquet", partial=True)
    done.download("out.csv", format="jsonl")
    done.download("out.jsonl")
    assert [request.query for request in server.asked("GET", RESULTS)] == [
        {"format": "csv"},
        {"format": "parquet", "partial": "true"},
        {},
        {},
    ]


def test_a_broken_download_of_another_format_leaves_nothing(
    server: ScriptedServer, tm: Textmill, tmp_path: Path
) -> None:
    server.on("GET", RESULTS, ranged(CSV, etag=None, breaks=(5000,), chunked=True))
    with pytest.raises(ConnectionFailed):
        tm.jobs.download(JOB_ID, tmp_path / "out.csv")
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["results", "errors"])
def test_the_command_fetches_other_formats(
    server: ScriptedServer, textmill: Shell, tmp_path: Path, command: str
) -> None:
    server.on("GET", f"{JOB}/{command}", Answer(body=CSV, chunked=True))
    assert textmill(command, JOB_ID, "--format", "csv").stdout_bytes == CSV
    assert textmill(command, JOB_ID, "--format", "parquet", "-o", "-").stdout_bytes == CSV
    assert textmill(command, JOB_ID, "-o", "out.parquet", "--partial").exit_code == 0
    assert (tmp_path / "out.parquet").read_bytes() == CSV
    assert textmill(command, JOB_ID, "-o", "out.csv", "--format", "jsonl").exit_code == 0
    assert [request.query for request in server.requests] == [
        {"format": "csv"},
        {"format": "parquet"},
        {"format": "parquet", "partial": "true"},
        {},
    ]
    wrong = textmill(command, JOB_ID, "--format", "xml")
    assert wrong.exit_code == 2
    assert "'jsonl', 'csv', 'parquet'" in wrong.stderr


def test_submit_saves_by_the_names_ending(
    server: ScriptedServer, textmill: Shell, tmp_path: Path
) -> None:
    server.on("GET", RESULTS, Answer(body=CSV, chunked=True))
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "a"}\n')
    result = textmill("submit", "classify", "-m", "m", "-i", "rows.jsonl", "-o", "out.csv")
    assert result.exit_code == 0, result.output
    assert server.requests[-1].query == {"format": "csv"}
    assert (tmp_path / "out.csv").read_bytes() == CSV


def test_retry_gives_the_same_job_under_way(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", JOB, reply(job("completed")))
    server.on("POST", f"{JOB}/retry", reply(job("in_progress", attempts=2)))
    again = tm.jobs.get(JOB_ID).retry()
    assert (again.id, again.status, again.attempts) == (JOB_ID, "in_progress", 2)
    server.on("POST", f"{JOB}/retry", problem(409, "conflict", "the job is in_progress"))
    with pytest.raises(Conflict, match="in_progress"):
        again.retry()


def test_a_retry_whose_answer_was_lost_is_not_sent_twice(
    server: ScriptedServer, tm: Textmill
) -> None:
    lost = Answer(body=b"{}", cut_after=1)
    server.on("POST", f"{JOB}/retry", lost, reply(job()))
    with pytest.raises(ConnectionFailed):
        tm.jobs.retry(JOB_ID)
    assert len(server.requests) == 1


def test_delete_answers_nothing(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", JOB, reply(job("completed")))
    server.on("DELETE", JOB, Answer(status=204), problem(404, "not_found", "no such job"))
    done = tm.jobs.get(JOB_ID)
    done.delete()
    with pytest.raises(NotFound):
        done.delete()


def test_the_command_retries_and_can_wait(server: ScriptedServer, textmill: Shell) -> None:
    server.on("POST", f"{JOB}/retry", reply(job("in_progress", attempts=2)))
    result = textmill("retry", JOB_ID)
    assert result.exit_code == 0
    assert JOB_ID in result.stdout
    assert f"textmill watch {JOB_ID}" in result.stderr
    assert server.asked("GET", JOB) == []
    as_json = textmill("retry", JOB_ID, "--json")
    assert json.loads(as_json.stdout) == job("in_progress", attempts=2)
    waited = textmill("retry", JOB_ID, "--wait", "--json")
    assert json.loads(waited.stdout) == job("completed")
    server.on("GET", JOB, reply(job("failed")))
    assert textmill("retry", JOB_ID, "--wait").exit_code == 1
    server.on("POST", f"{JOB}/retry", problem(409, "conflict", "the job is in_progress"))
    refused = textmill("retry", JOB_ID)
    assert refused.exit_code == 1
    assert "the job is in_progress" in refused.stderr


def test_the_command_deletes(server: ScriptedServer, textmill: Shell) -> None:
    server.on("DELETE", JOB, Answer(status=204))
    result = textmill("delete", JOB_ID)
    assert (result.exit_code, result.stdout) == (0, f"Deleted {JOB_ID}.\n")
    as_json = textmill("delete", JOB_ID, "--json")
    assert (as_json.exit_code, as_json.stdout, as_json.stderr) == (0, "", "")
    server.on("DELETE", JOB, problem(409, "conflict", "the job is in_progress"))
    assert textmill("delete", JOB_ID).exit_code == 1


def test_a_completion_window_is_sent_as_it_is(
    server: ScriptedServer, textmill: Shell, tm: Textmill, tmp_path: Path
) -> None:
    tm.jobs.create(kind="classify", input=["a"], completion_window="90m")
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "a"}\n')
    arguments = ("submit", "classify", "-m", "m", "-i", "rows.jsonl")
    assert textmill(*arguments, "--completion-window", "24h", "--max-errors", "1%").exit_code == 0
    assert textmill(*arguments).exit_code == 0
    first, second, third = (request.json for request in server.asked("POST", "/v1/jobs"))
    assert first["completion_window"] == "90m"
    assert (second["completion_window"], second["max_errors"]) == ("24h", "1%")
    assert "completion_window" not in third


def test_fields_of_a_newer_server_are_kept_but_not_needed(
    server: ScriptedServer, tm: Textmill, textmill: Shell
) -> None:
    newer = job(expires_at="2026-11-03T12:00:00.000Z", waiting={"for": "a worker"})
    server.on("GET", JOB, reply(newer))
    assert tm.jobs.get(JOB_ID).raw["expires_at"] == "2026-11-03T12:00:00.000Z"
    assert textmill("status", JOB_ID).exit_code == 0
