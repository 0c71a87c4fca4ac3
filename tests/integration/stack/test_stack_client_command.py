"""The ``textmill`` command against a real server."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from tests.integration.stack import commands
from tests.integration.stack.dialogue import jsonl
from tests.integration.stack.running import RunningStack
from tests.unit.translation.translators import save_marian

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def textmill(stack: RunningStack, tmp_path: Path) -> Shell:
    """Runs the command in an empty folder, with the environment that tells it where the server is."""

    def run(*arguments: str, expect: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return commands.textmill(stack, *arguments, cwd=tmp_path, expect=expect, env=env)

    return run


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """What was printed with ``--json``: that and nothing else."""
    return json.loads(done.stdout)


def test_from_submission_to_results(textmill: Shell, tmp_path: Path) -> None:
    rows = [{"custom_id": f"r{n}", "text": f"text {n}"} for n in range(30)]
    (tmp_path / "in.jsonl").write_bytes(jsonl(rows))
    options = ["--param", "upper=true", "--param", "fail_on=TEXT 7", "-p", "delay_ms=0.5"]
    done = textmill(
        "submit", "echo", "--input", "in.jsonl", *options, "--wait", "-o", "out.jsonl", "--json"
    )
    job = answer(done)
    assert (job["status"], job["request_counts"]["total"]) == ("completed", 30)
    results = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["output"]["text"] for row in results] == [f"TEXT {n}" for n in range(30)]
    assert answer(textmill("status", job["id"], "--json"))["id"] == job["id"]
    assert job["id"] in textmill("status", job["id"]).stdout
    assert textmill("results", job["id"]).stdout == (tmp_path / "out.jsonl").read_text()
    assert textmill("errors", job["id"]).stdout == ""
    listed = answer(textmill("list", "--limit", "1", "--kind", "echo", "--json"))
    assert [one["id"] for one in listed["data"]] == [job["id"]]
    textmill("watch", job["id"])


def test_a_translation_from_a_model_in_the_store(
    textmill: Shell, s3: Minio, folder: str, tmp_path: Path
) -> None:
    model = save_marian(tmp_path / "model", targets=["deu", "fra"])
    for path in model.iterdir():
        s3.fput_object("corpora", f"{folder}marian/{path.name}", str(path))
    ref = f"s3://corpora/{folder}marian"
    rows = [
        {"text": "The parcel came two days late.\n\n- Ask {name}! See https://x.org/a."},
        {"text": "Lovely colours!", "target_lang": "fr"},
        {"text": "12:30", "target_lang": "xx"},
    ]
    (tmp_path / "in.jsonl").write_bytes(jsonl(rows))
    command = ["submit", "translate", "--model", ref, "--input", "in.jsonl"]
    options = ["-p", "target_lang=de", "-p", "max_tokens=12", "-p", "precision=exact"]
    job = answer(textmill(*command, *options, "--wait", "-o", "out.jsonl", "--json"))
    assert (job["status"], job["request_counts"]["failed"]) == ("completed", 1)
    results = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["output"]["target_lang"] for row in results] == ["de", "fr"]
    whole = results[0]["output"]["translation"]
    assert re.search(r"^.+\n\n- .*\{name\}.*https://x\.org/a.*$", whole)
    (error,) = textmill("errors", job["id"]).stdout.splitlines()
    assert json.loads(error)["error"]["code"] == "language_unsupported"
    wrong = textmill(*command, "-p", "target_lang=ja", "--wait", expect=1)
    assert "deu, fra" in wrong.stderr


def test_a_job_that_fails_gives_status_1(textmill: Shell, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("good\nbad\n")
    options = ["--input", "in.txt", "-p", "fail_on=bad", "--max-errors", "0"]
    done = textmill("submit", "echo", *options, "--wait", expect=1)
    assert "max_errors" in done.stderr
    job = answer(textmill("list", "--status", "failed", "--limit", "1", "--json"))["data"][0]
    assert job["error"]["code"] == "too_many_errors"
    (row,) = textmill("errors", job["id"]).stdout.splitlines()
    assert json.loads(row)["error"]["code"] == "echo_refused"
    textmill("cancel", job["id"], expect=1)


def test_wrong_usage_gives_status_2(textmill: Shell) -> None:
    textmill("submit", "echo", expect=2)
    textmill("submit", "echo", "--input", "nothing.jsonl", expect=2)
    textmill("submit", "nonsense", "--input", "s3://corpora/x.jsonl", expect=2)
    textmill("nonsense", expect=2)
    unknown = textmill("status", "job_" + "0" * 26, "--json", expect=1)
    assert json.loads(unknown.stderr)["status"] == 404


def test_files(textmill: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text\na\n")
    file = answer(textmill("files", "put", "a.csv", "--json"))
    assert file["filename"] == "a.csv"
    assert file["id"] in textmill("files", "list", "--json").stdout
    textmill("files", "get", file["id"], "-o", "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == b"text\na\n"
    textmill("files", "delete", file["id"])
    textmill("files", "get", file["id"], "-o", "c.csv", expect=1)
    assert not (tmp_path / "c.csv").exists()


def test_what_the_server_has(textmill: Shell) -> None:
    kinds = answer(textmill("kinds", "--json"))["data"]
    assert {"classify", "summarize", "translate", "import_model", "echo"} <= {
        kind["name"] for kind in kinds
    }
    assert "Give each text back" in textmill("kinds").stdout
    roles = {worker["role"] for worker in answer(textmill("workers", "--json"))["data"]}
    assert roles == {"model", "control", "scheduler"}
    textmill("workers")
    assert "data" in answer(textmill("models", "list", "--json"))
    textmill("models", "list")
    textmill("models", "show", "nothing", expect=1)


def test_doctor(textmill: Shell) -> None:
    report = answer(textmill("doctor", "--json"))
    assert report["ok"], report
    sick = answer(textmill("doctor", "--json", expect=1, TEXTMILL_API_KEY="tm_wrong"))
    assert [check["name"] for check in sick["checks"] if not check["ok"]] == ["API key accepted"]
    textmill("doctor", expect=1, TEXTMILL_URL="http://127.0.0.1:9")
