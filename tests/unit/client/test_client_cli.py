"""The ``textmill`` command: what it prints where, and its exit statuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.unit.client.scripted import (
    FILE_ID,
    JOB,
    JOB_ID,
    KEY,
    KINDS,
    Answer,
    ScriptedServer,
    job,
    problem,
    ranged,
    reply,
)
from tests.unit.client.shell import ROWS, Shell, page


@pytest.fixture
def rows(tmp_path: Path) -> str:
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "a"}\n')
    return "rows.jsonl"


def test_submit_sends_what_was_asked_for(
    server: ScriptedServer, textmill: Shell, rows: str
) -> None:
    result = textmill(
        *("submit", "classify", "--model", "m", "--input", rows, "--name", "n"),
        *("--param", "candidate_labels=a,b,c", "--param", "top_k=2", "--param", "hypothesis=5"),
        *("--priority", "high", "--text-field", "body", "--id-field", "id", "--carry", "x"),
        *("--carry", "y", "--max-errors", "7", "--metadata", "team=a=b", "--format", "jsonl"),
        *("--output-uri", "s3://corpora/out/", "--output-format", "csv", "--output-layout", "date"),
        *("--webhook-url", "https://hooks.example.org/", "--webhook-secret", "whsec_a"),
    )
    assert result.exit_code == 0, result.output
    (submission,) = server.asked("POST", "/v1/jobs")
    assert submission.json == {
        "kind": "classify",
        "model": "m",
        "name": "n",
        "input": {
            "file": FILE_ID,
            "format": "jsonl",
            "text_field": "body",
            "id_field": "id",
            "carry": ["x", "y"],
        },
        "params": {"candidate_labels": ["a", "b", "c"], "top_k": 2, "hypothesis": "5"},
        "priority": "high",
        "max_errors": 7,
        "metadata": {"team": "a=b"},
        "output": {"uri": "s3://corpora/out/", "format": "csv", "layout": "date"},
        "webhook": {"url": "https://hooks.example.org/", "secret": "whsec_a"},
    }
    assert JOB_ID in result.stdout
    assert f"textmill watch {JOB_ID}" in result.stderr


def test_a_secret_of_the_environment_is_sent_only_with_a_webhook(
    server: ScriptedServer, textmill: Shell, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTMILL_WEBHOOK_SECRET", "whsec_b")
    plain = ("submit", "classify", "-m", "m", "-i", rows)
    assert textmill(*plain).exit_code == 0
    assert textmill(*plain, "--webhook-url", "https://hooks.example.org/").exit_code == 0
    first, second = server.asked("POST", "/v1/jobs")
    assert "webhook" not in first.json
    assert second.json["webhook"] == {"url": "https://hooks.example.org/", "secret": "whsec_b"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--webhook-url", "https://hooks.example.org/"],
            "webhook_url and webhook_secret go together",
        ),
        (["--webhook-secret", "whsec_a"], "webhook_url and webhook_secret go together"),
        (["--output-format", "csv"], "output_format needs output_uri"),
        (["--output-layout", "date"], "output_layout needs output_uri"),
    ],
)
def test_what_belongs_together_is_sent_together(
    server: ScriptedServer, textmill: Shell, rows: str, arguments: list[str], message: str
) -> None:
    result = textmill("submit", "classify", "-m", "m", "-i", rows, *arguments)
    assert result.exit_code != 0
    assert message in " ".join(result.stderr.split())
    assert server.asked("POST", "/v1/jobs") == server.asked("POST", "/v1/files") == []


def test_submit_reads_stdin_and_maps_hyphens(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", "/v1/files", reply(page()))
    arguments = ("submit", "fine-tune", "-m", "m", "-i", "-", "--format", "text")
    result = textmill(*arguments, "--idempotency-key", "k1", stdin=b"a\nb\n")
    assert result.exit_code == 0, result.output
    (upload,) = server.asked("POST", "/v1/files")
    assert (upload.body, upload.query["filename"]) == (b"a\nb\n", "stdin.txt")
    (submission,) = server.asked("POST", "/v1/jobs")
    assert submission.json["kind"] == "fine_tune"
    assert submission.headers["idempotency-key"] == "k1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "-m", "m", "-i", "none.jsonl"], "no such file: none.jsonl"),
        (["clasify", "-m", "m", "-i", "rows.jsonl"], "Did you mean classify?"),
        (["classify", "-i", "rows.jsonl"], "needs a model"),
        (
            ["classify", "-m", "m", "-i", "rows.jsonl", "-p", "topk=1"],
            "unknown parameter 'topk'; this kind knows: candidate_labels, hypothesis, top_k",
        ),
        (["classify", "-m", "m", "-i", "rows.jsonl", "-p", "top_k=a"], "a whole number"),
        (["classify", "-m", "m", "-i", "rows.jsonl", "--metadata", "x"], "--metadata name=value"),
        (["classify", "-m", "m", "-i", "rows.jsonl", "-o", "no/such/x"], "there is no folder"),
        (["classify", "-m", "m", "-i", "rows.jsonl", "-o", "-", "--json"], "both want stdout"),
        (["classify", "-m", "m"], "Missing option"),
        (["classify", "-m", "m", "-i", "rows.jsonl", "--priority", "huge"], "--priority"),
    ],
)
def test_wrong_usage_is_exit_2_and_submits_nothing(
    server: ScriptedServer, textmill: Shell, rows: str, arguments: list[str], message: str
) -> None:
    result = textmill("submit", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert server.asked("POST", "/v1/jobs") == server.asked("POST", "/v1/files") == []


class Printing(NamedTuple):
    """A command that prints, and the answer that it prints."""

    arguments: list[str]
    method: str
    path: str
    raw: Any


KEY_RECORD = {
    "object": "key",
    "id": "key_1",
    "name": "nightly import",
    "scopes": ["jobs:read", "jobs:write"],
    "created_at": "2026-11-02T12:00:00.000Z",
    "created_by": None,
    "expires_at": "2126-11-02T12:00:00.000Z",
    "revoked_at": None,
    "last_used_at": None,
}
COUNTS = {
    "requests": 1234,
    "rows": 56789,
    "failed_rows": 1,
    "input_tokens": 7_654_321,
    "output_tokens": 0,
    "device_seconds": 93.2,
    "bytes_uploaded": 1_500_000,
}
USAGE = {
    "object": "usage",
    "tenant": "default",
    "days": [{"day": "2026-11-01", **COUNTS}, {"day": "2026-11-02", **COUNTS, "shiny": 1}],
    "total": COUNTS,
    "quotas": [
        {"name": "rows_queued", "limit": 1000, "used": 950, "left": 50, "resets_at": None},
        {"name": "bytes_stored", "limit": None, "used": 5e9, "left": None, "resets_at": None},
    ],
    "rates": {"read": 100.0, "write": None},
}


PRINTING = [
    Printing(["status", JOB_ID], "GET", JOB, job("completed")),
    Printing(["watch", JOB_ID], "GET", JOB, job("completed")),
    Printing(["cancel", JOB_ID], "POST", f"{JOB}/cancel", job("cancelling")),
    Printing(["list"], "GET", "/v1/jobs", page(job(), job("failed", name=None))),
    Printing(
        ["files", "list"], "GET", "/v1/files", page({"id": FILE_ID, "filename": "a", "bytes": 3})
    ),
    Printing(
        ["files", "get", FILE_ID], "GET", f"/v1/files/{FILE_ID}", {"id": FILE_ID, "filename": "ä"}
    ),
    Printing(
        ["files", "delete", FILE_ID],
        "DELETE",
        f"/v1/files/{FILE_ID}",
        {"id": FILE_ID, "deleted": True},
    ),
    Printing(
        ["models", "list"],
        "GET",
        "/v1/models",
        page({"name": "m", "versions": [{"version": "1"}], "aliases": {"prod": "1"}}),
    ),
    Printing(
        ["models", "show", "m"],
        "GET",
        "/v1/models/m",
        {"name": "m", "versions": [{"version": "1", "bytes": 5}], "aliases": {}},
    ),
    Printing(["models", "alias", "m@1", "prod"], "PUT", "/v1/models/m/aliases/prod", {"name": "m"}),
    Printing(
        ["models", "rollback", "m"],
        "POST",
        "/v1/models/m/aliases/prod/rollback",
        {"name": "m", "alias": "prod", "version": "1"},
    ),
    Printing(
        ["models", "delete", "m@1", "--yes"],
        "DELETE",
        "/v1/models/m/versions/1",
        {"name": "m", "version": "1", "deleted": True},
    ),
    Printing(
        ["models", "delete", "m", "--alias", "prod", "--yes"],
        "DELETE",
        "/v1/models/m/aliases/prod",
        {"name": "m", "alias": "prod", "deleted": True},
    ),
    Printing(
        ["models", "delete", "m", "--yes"],
        "DELETE",
        "/v1/models/m",
        {"name": "m", "deleted": True},
    ),
    Printing(
        ["models", "import", "hf:a/b", "--name", "m"],
        "POST",
        "/v1/models",
        job(kind="import_model"),
    ),
    Printing(["kinds"], "GET", "/v1/kinds", KINDS),
    Printing(
        ["workers"],
        "GET",
        "/v1/workers",
        {"data": [{"id": "w1", "device": "cpu", "models": ["m"]}]},
    ),
    Printing(["usage"], "GET", "/v1/usage", USAGE),
    Printing(["keys", "list"], "GET", "/v1/keys", page(KEY_RECORD)),
    Printing(["keys", "create", "ci"], "POST", "/v1/keys", {**KEY_RECORD, "key": "tm_new"}),
    Printing(["keys", "revoke", "key_1"], "DELETE", "/v1/keys/key_1", KEY_RECORD),
    Printing(
        ["submit", "classify", "-m", "m", "-i", "rows.jsonl"], "POST", "/v1/jobs", job("validating")
    ),
    Printing(
        ["submit", "classify", "-m", "m", "-i", "rows.jsonl", "--wait"],
        "GET",
        JOB,
        job("completed", request_counts={"total": 9, "completed": 8, "failed": 1}),
    ),
]


def named(case: Printing) -> str:
    return " ".join(case.arguments)


@pytest.mark.parametrize("case", PRINTING, ids=named)
def test_json_is_the_apis_object_and_nothing_else(
    server: ScriptedServer, textmill: Shell, rows: str, case: Printing
) -> None:
    server.on(case.method, case.path, reply(case.raw))
    result = textmill(*case.arguments, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == case.raw
    assert result.stderr == ""
    people = textmill(*case.arguments)
    assert people.exit_code == 0
    assert people.stdout.strip()
    assert max(len(line) for line in people.stdout.splitlines()) <= 80


RESULTS = Printing(["results", JOB_ID], "GET", f"{JOB}/results", None)


@pytest.mark.parametrize("case", [*PRINTING, RESULTS], ids=named)
def test_an_error_of_the_api_is_exit_1(
    server: ScriptedServer, textmill: Shell, rows: str, case: Printing
) -> None:
    wrong = [{"field": "params.top_k", "reason": "expected at least 1", "value": "0"}]
    refusal = problem(422, "invalid_request", "2 fields are wrong", errors=wrong)
    server.on(case.method, case.path, refusal)
    result = textmill(*case.arguments, "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    shown = json.loads(result.stderr)
    shown.pop("hint", None)
    assert shown == json.loads(refusal.body)
    people = textmill(*case.arguments)
    assert people.exit_code == 1
    assert "Error: 2 fields are wrong" in people.stderr
    assert "params.top_k: expected at least 1 (found 0)" in people.stderr


def test_wait_shows_sparse_lines_where_there_is_no_terminal(
    server: ScriptedServer, textmill: Shell, rows: str
) -> None:
    server.on("GET", JOB, *[reply(job())] * 5, reply(job("completed")))
    result = textmill("submit", "classify", "-m", "m", "-i", rows, "--wait")
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if line.startswith(JOB_ID)]
    assert [line.split("  ")[1].split(",")[0] for line in lines] == [
        "validating",
        "in progress",
        "completed",
    ]
    assert "6,228 of 10,000 rows" in lines[1]
    assert "\x1b" not in result.stderr + result.stdout


def test_wait_with_an_output_saves_the_results(
    server: ScriptedServer, textmill: Shell, rows: str, tmp_path: Path
) -> None:
    result = textmill("submit", "classify", "-m", "m", "-i", rows, "-o", "out.jsonl")
    assert result.exit_code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == ROWS
    assert "out.jsonl" in result.stderr
    piped = textmill("submit", "classify", "-m", "m", "-i", rows, "-o", "-")
    assert piped.stdout_bytes == ROWS


def test_failed_rows_are_a_warning_not_a_failure(
    server: ScriptedServer, textmill: Shell, rows: str
) -> None:
    counts = {"total": 10_000, "completed": 9_988, "failed": 12}
    server.on("GET", JOB, reply(job("completed", request_counts=counts)))
    result = textmill("submit", "classify", "-m", "m", "-i", rows, "--wait")
    assert result.exit_code == 0
    said = " ".join(result.stderr.split())
    assert f"Warning: 12 of 10,000 rows failed. See them: textmill errors {JOB_ID}" in said


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_a_job_that_does_not_complete_is_exit_1_and_says_what_next(
    server: ScriptedServer, textmill: Shell, rows: str, status: str
) -> None:
    error = {"code": "model_not_found", "message": "no such model", "field": "model"}
    ended = job(status, error=error if status == "failed" else None)
    server.on("GET", JOB, reply(ended))
    result = textmill("submit", "classify", "-m", "m", "-i", rows, "--wait")
    assert result.exit_code == 1
    assert status in result.stderr
    assert f"textmill results {JOB_ID}" in result.stderr
    assert "ubmit" in result.stderr
    as_json = textmill("submit", "classify", "-m", "m", "-i", rows, "--wait", "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout) == ended
    code = "model_not_found" if status == "failed" else f"job_{status}"
    assert json.loads(as_json.stderr)["code"] == code


def test_results_and_errors_stream_as_they_are(textmill: Shell, tmp_path: Path) -> None:
    for command in ("results", "errors"):
        assert textmill(command, JOB_ID).stdout_bytes == ROWS
        assert textmill(command, JOB_ID, "--json").stdout_bytes == ROWS
        saved = textmill(command, JOB_ID, "-o", f"{command}.jsonl")
        assert saved.stdout == ""
        assert (tmp_path / f"{command}.jsonl").read_bytes() == ROWS


def test_partial_results_are_asked_for_as_such(server: ScriptedServer, textmill: Shell) -> None:
    assert textmill("results", JOB_ID, "--partial").exit_code == 0
    assert server.requests[-1].query == {"partial": "true"}


def test_files_are_put_and_fetched(
    server: ScriptedServer, textmill: Shell, rows: str, tmp_path: Path
) -> None:
    put = textmill("files", "put", rows, "--json")
    assert json.loads(put.stdout)["filename"] == "rows.jsonl"
    assert textmill("files", "put", "-", stdin=b"x").exit_code == 2
    named = textmill("files", "put", "-", "--name", "x.txt", "--json", stdin=b"x")
    assert json.loads(named.stdout)["filename"] == "x.txt"
    server.on("GET", f"/v1/files/{FILE_ID}", reply({"id": FILE_ID, "filename": "a", "bytes": 60}))
    server.on("GET", f"/v1/files/{FILE_ID}/content", ranged(ROWS))
    assert textmill("files", "get", FILE_ID, "-o", "-").stdout_bytes == ROWS
    assert textmill("files", "get", FILE_ID, "-o", "copy").exit_code == 0
    assert (tmp_path / "copy").read_bytes() == ROWS


def test_import_can_wait_and_names_the_version(server: ScriptedServer, textmill: Shell) -> None:
    server.on("POST", "/v1/models", reply(job("validating", kind="import_model"), 201))
    made = {"index": 0, "output": {"model": "mine", "version": "4"}}
    server.on("GET", f"{JOB}/results", Answer(body=json.dumps(made).encode()))
    result = textmill("models", "import", "hf:a/b", "--name", "mine", "--wait")
    assert result.exit_code == 0
    assert "registry:mine@4" in result.stderr
    assert textmill("models", "alias", "mine", "prod").exit_code == 2


def test_a_further_page_is_named_with_its_filters(server: ScriptedServer, textmill: Shell) -> None:
    more = {"data": [job()], "has_more": True, "next_after": JOB_ID}
    server.on("GET", "/v1/jobs", reply(more))
    result = textmill("list", "--status", "failed", "--kind", "fine-tune", "--limit", "1")
    assert server.requests[-1].query == {"status": "failed", "kind": "fine_tune", "limit": "1"}
    assert f"textmill list --status failed --kind fine-tune --after {JOB_ID}" in result.stderr


def test_queries_name_nothing_that_the_server_does_not_know(
    server: ScriptedServer, textmill: Shell
) -> None:
    for command, path in (("models", "/v1/models"), ("files", "/v1/files")):
        server.on("GET", path, reply(page()))
        assert textmill(command, "list").exit_code == 0
    assert [request.query for request in server.requests] == [{}, {"limit": "20"}]


def test_kinds_shows_the_parameters_of_one(textmill: Shell) -> None:
    result = textmill("kinds", "classify")
    assert "candidate_labels" in result.stdout
    assert "Labels to choose from" in result.stdout
    assert textmill("kinds", "none").exit_code == 2


def test_text_from_the_server_cannot_drive_the_terminal(
    server: ScriptedServer, textmill: Shell
) -> None:
    evil = "\x1b]0;pwned\x07[red]x[/red]"
    server.on("GET", JOB, reply(job("failed", name=evil, error={"code": "c", "message": evil})))
    result = textmill("status", JOB_ID)
    assert "\x1b" not in result.stdout
    assert "[red]x[/red]" in result.stdout


def test_nothing_configured_is_a_clear_error(textmill: Shell) -> None:
    result = textmill("list", environ={"TEXTMILL_URL": None})
    assert result.exit_code == 1
    assert "TEXTMILL_URL" in result.stderr
    as_json = textmill("list", "--json", environ={"TEXTMILL_URL": None})
    assert json.loads(as_json.stderr)["code"] == "config_error"


def test_options_win_over_the_environment(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", "/v1/jobs", reply(page()))
    result = textmill(
        *("list", "--url", server.url, "--api-key", "other"),
        environ={"TEXTMILL_URL": "http://127.0.0.1:9"},
    )
    assert result.exit_code == 0
    assert server.requests[-1].headers["authorization"] == "Bearer other"


def test_usage_is_shown_as_tables(server: ScriptedServer, textmill: Shell) -> None:
    server.on("GET", "/v1/usage", reply(USAGE))
    result = textmill("usage", "--from", "2026-11-01", "--to", "2026-11-02")
    assert server.requests[-1].query == {"from": "2026-11-01", "to": "2026-11-02"}
    words = " ".join(result.stdout.split())
    assert "2026-11-02 56,789 1 7.7 M 0 1 min 33 s 1.5 MB 1,234" in words
    assert "rows queued 950 1,000 50" in words
    assert "bytes stored 5.0 GB no limit no limit" in words
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert textmill("usage", "--from", "yesterday").exit_code == 2


def test_a_new_key_is_alone_on_stdout(server: ScriptedServer, textmill: Shell) -> None:
    server.on("POST", "/v1/keys", reply({**KEY_RECORD, "key": KEY}, 201))
    options = ["--scope", "jobs:read", "--scope", "jobs:write", "--expires-in-days", "90"]
    result = textmill("keys", "create", "ci", *options)
    assert server.requests[-1].json == {
        "name": "ci",
        "scopes": ["jobs:read", "jobs:write"],
        "expires_in_days": 90,
    }
    assert result.stdout == KEY + "\n"
    assert "shown this once" in result.stderr
    assert KEY not in result.stderr
    assert textmill("keys", "create").exit_code == 2


def test_keys_are_listed_with_their_state(server: ScriptedServer, textmill: Shell) -> None:
    states = [
        KEY_RECORD,
        {**KEY_RECORD, "expires_at": None},
        {**KEY_RECORD, "expires_at": "2020-01-01T00:00:00Z"},
        {**KEY_RECORD, "revoked_at": "2026-11-02T12:00:00.000Z"},
    ]
    server.on("GET", "/v1/keys", reply(page(*states)))
    shown = textmill("keys", "list").stdout
    for word in ("good until 2126-11-02", "good ", "expired", "revoked", "jobs:read, jobs:write"):
        assert word in shown
    assert textmill("keys", "revoke").exit_code == 2
