"""Schedules as users meet them, on a whole stack."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from api.schemas.schedules import RunPage, ScheduleView
from jobs.settings import Settings
from server.connect import Connections
from storage.keys import KeyRing
from storage.tenants import TenantTable
from tests.integration.stack.commands import textmill
from tests.integration.stack.dialogue import problem
from tests.integration.stack.running import RunningStack, wait_for
from textmill import Schedule, Textmill

#: Generous: a busy machine may take long for what is done in a second.
SECONDS = 90.0

GUIDE = Path(__file__).parents[3] / "docs/howto/schedules.md"
JOB = {"kind": "echo", "input": {"items": [{"text": "a"}, {"text": "b"}]}}
YEARLY = "0 0 1 1 *"


@pytest.fixture
def schedule(tm: Textmill) -> Iterator[Schedule]:
    made = tm.schedules.create(job=JOB, every=86_400, name="nightly")
    yield made
    tm.schedules.delete(made.id)


def done(tm: Textmill, schedule_id: str) -> list[str]:
    return [run.status for run in tm.schedules.runs(schedule_id)]


def test_it_fires_by_the_clock_and_its_job_is_done(tm: Textmill, http: httpx.Client) -> None:
    began = datetime.now(UTC) - timedelta(seconds=57)  # so that it fires in a moment
    asked: dict[str, Any] = {
        "job": JOB,
        "every": 60,
        "starts_at": began.isoformat(timespec="seconds"),
        "idempotency_key": secrets.token_hex(8),
    }
    made = tm.schedules.create(**asked)
    again = tm.schedules.create(**asked)
    assert again.id == made.id
    wait_for(lambda: "completed" in done(tm, made.id), SECONDS)
    run = list(tm.schedules.runs(made.id))[-1]
    assert run.job is not None
    assert run.fire_at is not None
    assert not run.manual
    assert [row["output"]["text"] for row in tm.jobs.get(run.job).results()] == ["a", "b"]
    RunPage.model_validate(http.get(f"/v1/schedules/{made.id}/runs").json())
    tm.schedules.delete(made.id)
    problem(http.get(f"/v1/schedules/{made.id}"), 404, "not_found")
    assert tm.jobs.get(run.job).status == "completed"


def test_it_is_triggered_changed_paused_and_resumed(
    tm: Textmill, http: httpx.Client, schedule: Schedule
) -> None:
    run = tm.schedules.trigger(schedule.id)
    assert (run.manual, run.status) == (True, "open")
    wait_for(lambda: done(tm, schedule.id) == ["completed"], SECONDS)
    paused = tm.schedules.pause(schedule.id)
    assert (paused.paused, paused.next_fire_times) == ("paused on request", ())
    changed = tm.schedules.change(schedule.id, cron=YEARLY, every=None, timezone="Asia/Tokyo")
    assert (changed.cron, changed.every, changed.name) == (YEARLY, None, "nightly")
    assert changed.paused is not None
    resumed = tm.schedules.resume(schedule.id)
    assert resumed.paused is None
    assert resumed.raw["next_fire_times"][0].endswith("-12-31T15:00:00.000Z")
    ScheduleView.model_validate(http.get(f"/v1/schedules/{schedule.id}").json())
    assert schedule.id in [one.id for one in tm.schedules.list()]
    first = tm.schedules.page(limit=1)
    assert len(first.data) == 1


def test_what_it_may_not_be_is_refused(http: httpx.Client, schedule: Schedule) -> None:
    bad: dict[str, dict[str, Any]] = {
        "cron": {"cron": "61 * * * *", "job": JOB},
        "timezone": {"cron": YEARLY, "timezone": "../etc/passwd", "job": JOB},
        "ends_at": {"every": 60, "ends_at": "2020-01-01T00:00:00Z", "job": JOB},
        "job.kind": {"every": 60, "job": {**JOB, "kind": "nope"}},
        "job.input.file": {"every": 60, "job": {"kind": "echo", "input": {"file": "file_x"}}},
    }
    for field, body in bad.items():
        found = problem(http.post("/v1/schedules", json=body), 422, "invalid_request")
        assert found["errors"][0]["field"] == field
    place = f"/v1/schedules/{schedule.id}"
    for change in (
        {"job": None},
        {"cron": YEARLY},
        {"timezone": "x"},
        {"job": bad["job.kind"]["job"]},
    ):
        problem(http.patch(place, json=change), 422, "invalid_request")
    assert http.patch(place, json={}).json()["revision"] == 0
    problem(http.post("/v1/schedules/x/trigger"), 404, "not_found")


def test_a_webhooks_secret_is_not_shown(http: httpx.Client) -> None:
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
    job = {**JOB, "webhook": {"url": "https://hooks.example.org/x", "secret": secret}}
    made = http.post("/v1/schedules", json={"cron": YEARLY, "job": job})
    assert made.status_code == 201
    place = made.headers["Location"]
    shown = [made.text, http.get(place).text, http.get("/v1/schedules?limit=100").text]
    shown += [http.post(f"{place}/pause").text]
    assert secret not in "".join(shown)
    assert "hooks.example.org" in shown[0]
    assert http.delete(place).status_code == 204


def test_tenants_do_not_see_one_another(stack: RunningStack, tm: Textmill) -> None:
    connections = Connections.open(Settings.from_environment(stack.embedded.environment()))
    name = f"t-{secrets.token_hex(4)}"
    TenantTable(connections.store, connections.ledger).create(name)
    _, key = KeyRing(connections.store, connections.ledger).create(name, "other")
    mine = tm.schedules.create(job=JOB, cron=YEARLY)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.client.url, headers=headers, trust_env=False) as other:
        place = f"/v1/schedules/{mine.id}"
        assert other.get("/v1/schedules").json()["data"] == []
        for reply in (
            other.get(place),
            other.get(f"{place}/runs"),
            other.patch(place, json={"name": "x"}),
            other.delete(place),
            *(other.post(f"{place}/{act}") for act in ("pause", "resume", "trigger")),
        ):
            problem(reply, 404, "not_found")
    assert tm.schedules.get(mine.id).paused is None
    tm.schedules.delete(mine.id)


def test_the_command_does_all_of_it(stack: RunningStack, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        return textmill(stack, "schedules", *words, cwd=tmp_path).stdout

    (tmp_path / "job.json").write_text(json.dumps(JOB))
    job = str(tmp_path / "job.json")
    made = json.loads(run("create", "--job", job, "--cron", YEARLY, "--name", "yearly", "--json"))
    assert "yearly" in run("list", "--limit", "100")
    assert "echo" in run("show", made["id"])
    assert "-01-01 00:00:00Z" in run("preview", made["id"])
    assert "paused" in run("pause", made["id"])
    assert "good" in run("resume", made["id"])
    assert "triggered" in run("trigger", made["id"])
    assert "triggered" in run("runs", made["id"])
    assert "Deleted" in run("delete", made["id"])


def test_the_guides_commands_run_as_they_stand(stack: RunningStack, tmp_path: Path) -> None:
    """Only the job is another: the guide's needs a model and a corpus."""
    lines = GUIDE.read_text("utf-8").splitlines()
    commands = [shlex.split(one, comments=True) for one in lines if one.startswith("textmill ")]
    assert len(commands) == 11
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    made = json.loads(textmill(stack, *commands[0][1:], "--json", cwd=tmp_path).stdout)
    assert (made["cron"], made["timezone"]) == ("30 2 * * *", "Europe/Berlin")
    env = {"TEXTMILL_WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"}
    *others, delete = sorted(commands[1:], key=lambda words: words[2] == "delete")
    for words in [*others, delete]:
        told = [made["id"] if word == "SCHEDULE" else word for word in words[1:]]
        assert textmill(stack, *told, cwd=tmp_path, env=env).stdout
    assert made["id"] not in textmill(stack, "schedules", "list", cwd=tmp_path).stdout


def test_when_redis_is_lost_schedules_are_back(
    stack: RunningStack, tm: Textmill, schedule: Schedule
) -> None:
    gone = tm.schedules.create(job=JOB, cron=YEARLY)
    tm.schedules.delete(gone.id)
    tm.schedules.pause(schedule.id)
    url = stack.embedded.environment()["TEXTMILL_REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        client.flushall()
        wait_for(lambda: client.exists("ledger:epoch"), SECONDS)
        known = client.hkeys("tenant:default:schedules")
    assert schedule.id.encode() in known
    assert gone.id.encode() not in known
    found = tm.schedules.get(schedule.id)
    assert found.paused == "paused on request"
    tm.schedules.resume(schedule.id)
    tm.schedules.trigger(schedule.id)
    wait_for(lambda: done(tm, schedule.id) == ["completed"], SECONDS)
