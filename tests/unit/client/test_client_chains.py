"""Jobs that read other jobs, and the calls about chains and schedules' webhooks, by both clients and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.client.either import Either
from tests.unit.client.scripted import JOB_ID, Answer, ScriptedServer, job, reply
from tests.unit.client.shell import Shell
from textmill import InputError, Textmill

SCHEDULE = "schedule_" + "0" * 26
PLACE = f"/v1/schedules/{SCHEDULE}"
RUN = {
    "id": "1793656800000m",
    "schedule": SCHEDULE,
    "status": "open",
    "manual": True,
    "job": JOB_ID,
    "jobs": [
        {"step": None, "job": JOB_ID, "status": "completed", "reason": None},
        {"step": "b", "job": "job_b", "status": "skipped", "reason": "why"},
    ],
}
DELIVERY = {
    "id": f"{SCHEDULE}:late:1",
    "type": "schedule.late",
    "status": "failed",
    "attempts": [{"at": "2026-11-02T12:00:00.000Z", "seconds": 1, "status": None, "error": "x"}],
}
BROKEN = Answer(raw=b"")


def sent(server: ScriptedServer) -> dict[str, Any]:
    found: dict[str, Any] = server.asked("POST", "/v1/jobs")[-1].json["input"]
    return found


@pytest.mark.parametrize("source", ["job", JOB_ID, f"job:{JOB_ID}"])
def test_a_job_is_an_input(
    server: ScriptedServer, tm: Textmill, either: Either, source: str
) -> None:
    server.on("POST", "/v1/jobs", reply(job("validating"), 201))
    given: Any = tm.jobs.adopt(job("completed")) if source == "job" else source
    where = [{"field": "output.score", "at_least": 0.9}]
    either(
        lambda tm: tm.jobs.create(
            kind="classify",
            input=given,
            text_field="fields.text",
            fields={"label": "output.label"},
            where=where,
        )
    )
    assert sent(server) == {
        "job": JOB_ID,
        "text_field": "fields.text",
        "fields": {"label": "output.label"},
        "where": where,
    }


def test_what_only_looks_like_a_job_is_a_path(either: Either) -> None:
    with pytest.raises((InputError, OSError)):
        either(lambda tm: tm.jobs.create(kind="classify", input="job:x"))


def test_a_run_is_asked_for_once_though_its_answer_is_lost(
    server: ScriptedServer, either: Either
) -> None:
    server.on("POST", f"{PLACE}/trigger", BROKEN, reply(RUN))
    run = either(lambda tm: tm.schedules.trigger(SCHEDULE))
    assert [(one.step, one.status, one.reason) for one in run.jobs] == [
        (None, "completed", None),
        ("b", "skipped", "why"),
    ]
    first, again = server.asked("POST", f"{PLACE}/trigger")
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    either(lambda tm: tm.schedules.trigger(SCHEDULE, idempotency_key="mine"))
    assert server.requests[-1].headers["idempotency-key"] == "mine"


def test_deliveries_are_listed_and_told_again(server: ScriptedServer, either: Either) -> None:
    server.on("GET", f"{PLACE}/deliveries", reply({"data": [DELIVERY], "has_more": False}))
    (found,) = either(lambda tm: tm.schedules.deliveries(SCHEDULE))
    assert (found.id, found.type, found.attempts[0].error) == (
        DELIVERY["id"],
        "schedule.late",
        "x",
    )
    server.on(
        "POST",
        f"{PLACE}/deliveries/{SCHEDULE}%3Alate%3A1/resend",
        reply({**DELIVERY, "status": "pending"}),
    )
    assert either(lambda tm: tm.schedules.resend(SCHEDULE, found.id)).status == "pending"


def test_submit_reads_a_job(server: ScriptedServer, textmill: Shell) -> None:
    words = ["submit", "classify", "--model", "x", "--input", f"job:{JOB_ID}"]
    words += ["--field", "text=output.translation", "--where", "output.score>=0.9"]
    words += ["--where", "output.lang = de", "--where", "output.n<=3", "--where", "output.ok=true"]
    assert textmill(*words).exit_code == 0
    assert sent(server) == {
        "job": JOB_ID,
        "fields": {"text": "output.translation"},
        "where": [
            {"field": "output.score", "at_least": 0.9},
            {"field": "output.lang", "equals": "de"},
            {"field": "output.n", "at_most": 3},
            {"field": "output.ok", "equals": True},
        ],
    }


@pytest.mark.parametrize("wrong", [["--where", "output.score"], ["--field", "x"]])
def test_a_condition_that_is_none(textmill: Shell, wrong: list[str]) -> None:
    result = textmill("submit", "classify", "--model", "x", "--input", f"job:{JOB_ID}", *wrong)
    assert result.exit_code == 2
    assert wrong[0] in result.output


def test_a_schedule_comes_from_files(
    server: ScriptedServer, textmill: Shell, tmp_path: Path
) -> None:
    server.on("POST", "/v1/schedules", reply({"id": SCHEDULE, "job": {}}, 201))
    (tmp_path / "whole.json").write_text('{"job": {"kind": "a"}, "every": 60, "name": "x"}')
    (tmp_path / "steps.json").write_text('[{"name": "b"}]')
    result = textmill(
        *["schedules", "create", "--from", "whole.json", "--then", "steps.json", "--name", "y"],
        *["--webhook-url", "https://example.org/"],
        environ={"TEXTMILL_WEBHOOK_SECRET": "whsec_x"},
    )
    assert result.exit_code == 0, result.output
    assert server.asked("POST", "/v1/schedules")[-1].json == {
        "job": {"kind": "a"},
        "every": 60,
        "name": "y",
        "then": [{"name": "b"}],
        "webhook": {"url": "https://example.org/", "secret": "whsec_x"},
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--every", "60"], "--job or --from"),
        (["--job", "job.json"], "--cron or --every"),
        (["--job", "job.json", "--every", "60", "--webhook-url", "u"], "--webhook-secret"),
        (["--from", "steps.json"], "expected a JSON object"),
    ],
)
def test_a_schedule_that_is_not_whole(
    textmill: Shell, tmp_path: Path, words: list[str], told: str
) -> None:
    (tmp_path / "job.json").write_text("{}")
    (tmp_path / "steps.json").write_text("[]")
    result = textmill("schedules", "create", *words)
    assert result.exit_code == 2
    assert told in result.output
