"""Chains of jobs, jobs that read others' results, and schedules that tell what goes wrong, on a whole stack."""

from __future__ import annotations

import base64
import json
import secrets
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from api.schemas.schedules import RunView
from api.schemas.webhooks import DeliveryPage
from jobs.settings import Settings
from server.connect import Connections
from storage.keys import KeyRing
from storage.tenants import TenantTable
from tests.integration.stack.commands import textmill
from tests.integration.stack.dialogue import ended, outcome, problem
from tests.integration.stack.running import RunningStack, wait_for
from tests.receivers import Receiver
from textmill import Run, Schedule, Textmill

#: Generous: a busy machine may take long for what is done in a second.
SECONDS = 120.0

GUIDE = Path(__file__).parents[3] / "docs/howto/chains.md"
YEARLY = "0 0 1 1 *"
ITEMS = [{"custom_id": f"r{n}", "text": f"text {n}", "score": n / 10} for n in range(10)]
JOB: dict[str, Any] = {
    "kind": "echo",
    "input": {"items": ITEMS, "carry": ["text", "score"]},
    "params": {"upper": True},
}
FAILING = {"kind": "echo", "input": {"items": ITEMS}, "params": {"fail_on": "t"}, "max_errors": 0}
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def step(name: str, **more: Any) -> dict[str, Any]:
    job = {"kind": "echo", "input": {"text_field": "output.text", "carry": ["fields.text"]}}
    return {"name": name, "job": job, **more}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def events(receiver: Receiver, schedule_id: str) -> list[dict[str, Any]]:
    """What a receiver heard of a schedule, verified."""
    found = [Webhook(SECRET).verify(one.body, one.headers) for one in list(receiver.heard)]
    return [one for one in found if one["data"]["schedule"]["id"] == schedule_id]


@pytest.fixture(scope="module", autouse=True)
def late(tm: Textmill, receiver: Receiver) -> Iterator[Schedule]:
    """One that fires at once, fails, and is late a minute later: while the other tests run."""
    began = datetime.now(UTC) - timedelta(seconds=57)
    made = tm.schedules.create(
        job=FAILING,
        every=31_000,
        starts_at=(began - timedelta(seconds=31_000 - 60)).isoformat(timespec="seconds"),
        complete_within_seconds=60,
        webhook={"url": receiver.url, "secret": SECRET},
    )
    yield made
    tm.schedules.delete(made.id)


def newest(tm: Textmill, schedule_id: str) -> Run:
    return next(iter(tm.schedules.runs(schedule_id)))


def done(tm: Textmill, schedule_id: str) -> Run:
    wait_for(lambda: newest(tm, schedule_id).status != "open", SECONDS)
    return newest(tm, schedule_id)


def statuses(run: Run) -> dict[str | None, str]:
    return {one.step: one.status for one in run.jobs}


def test_jobs_follow_one_another(tm: Textmill, http: httpx.Client) -> None:
    steps = [
        step("again"),
        step("many", when={"max_errors": "1%", "min_rows": 10}),
        step("more", when={"min_rows": 11}),
        step("none"),
        step("some", after=None),
    ]
    steps[-1]["job"]["input"]["where"] = [{"field": "fields.score", "at_least": 0.75}]
    made = tm.schedules.create(job=JOB, cron=YEARLY, then=steps)
    assert [one["after"] for one in made.then] == [None, "again", "many", "more", None]
    run = tm.schedules.trigger(made.id, idempotency_key="a")
    assert tm.schedules.trigger(made.id, idempotency_key="a").id == run.id
    run = done(tm, made.id)
    assert run.status == "completed"
    assert statuses(run) == {
        None: "completed",
        "again": "completed",
        "some": "completed",
        "many": "completed",
        "more": "skipped",
        "none": "skipped",
    }
    jobs = {one.step: one for one in run.jobs}
    assert jobs["more"].reason == "of many, 10 rows have results; min_rows: 11"
    results, _ = outcome(tm.jobs.get(jobs["many"].job))
    assert [row["output"]["text"] for row in results] == [f"TEXT {n}" for n in range(10)]
    results, _ = outcome(tm.jobs.get(jobs["some"].job))
    assert [(row["custom_id"], row["fields"]["fields.text"]) for row in results] == [
        ("r8", "text 8"),
        ("r9", "text 9"),
    ]
    (shown,) = http.get(f"/v1/schedules/{made.id}/runs").json()["data"]
    RunView.model_validate(shown)
    tm.schedules.delete(made.id)


def test_a_step_that_fails_is_told(tm: Textmill, http: httpx.Client, receiver: Receiver) -> None:
    failing = step("bad")
    failing["job"] |= {"params": {"fail_on": "TEXT 3"}, "max_errors": 0}
    made = tm.schedules.create(
        job=JOB,
        cron=YEARLY,
        name="watched",
        then=[failing, step("after")],
        pause_after_failures=1,
        webhook={"url": receiver.url, "secret": SECRET},
    )
    assert made.webhook == receiver.url
    assert SECRET not in str([made.raw, http.get(f"/v1/schedules/{made.id}").text])
    run = tm.schedules.trigger(made.id)
    wait_for(lambda: len(events(receiver, made.id)) == 2, SECONDS)
    run = done(tm, made.id)
    assert statuses(run) == {None: "completed", "bad": "failed", "after": "skipped"}
    failed, paused = sorted(events(receiver, made.id), key=lambda one: one["type"], reverse=True)
    assert (failed["type"], paused["type"]) == ("schedule.run_failed", "schedule.paused")
    assert failed["data"]["schedule"] == {"id": made.id, "name": "watched"}
    assert failed["data"]["run"]["id"] == run.id
    assert failed["data"]["run"]["error"]["code"] == "too_many_errors"
    assert paused["data"]["paused"]["code"] == "too_many_failures"

    def delivered() -> bool:
        found = list(tm.schedules.deliveries(made.id))
        return [one.status for one in found] == ["delivered"] * 2

    wait_for(delivered, SECONDS)
    place = f"/v1/schedules/{made.id}/deliveries"
    DeliveryPage.model_validate(http.get(place).json())
    one = next(iter(tm.schedules.deliveries(made.id)))
    assert (one.type, one.attempts[0].status) == ("schedule.paused", 204)
    assert tm.schedules.resend(made.id, one.id).status == "pending"
    wait_for(lambda: len(events(receiver, made.id)) == 3, SECONDS)
    assert {heard.headers["webhook-id"] for heard in receiver.heard if one.id in str(heard)}
    problem(http.post(f"{place}/{made.id}:late:1/resend"), 404, "not_found")
    problem(http.post(f"{place}/x/resend"), 404, "not_found")
    problem(http.get(f"{place}?after=x"), 404, "not_found")
    tm.schedules.change(made.id, webhook=None)
    problem(http.post(f"{place}/{one.id}/resend"), 409, "conflict")
    tm.schedules.delete(made.id)
    problem(http.get(place), 404, "not_found")


def test_what_a_chain_may_not_be(http: httpx.Client, tm: Textmill) -> None:
    unknown = step("b")
    unknown["job"]["kind"] = "nope"
    metadata = {"url": "https://169.254.169.254/latest/", "secret": SECRET}
    told = step("b")
    told["job"]["webhook"] = metadata
    bad: dict[str, dict[str, Any]] = {
        "then": {"then": [step("a", after="b"), step("b")]},
        "then.1.job.kind": {"then": [step("a"), unknown]},
        "then.1.job.webhook.url": {"then": [step("a"), told]},
        "then.0.job.input": {"then": [{"name": "a", "job": {"kind": "echo", "input": {}}}]},
        "webhook.url": {"webhook": metadata},
        "webhook.secret": {"webhook": {"url": "https://example.org/", "secret": "x"}},
    }
    made = tm.schedules.create(job=JOB, cron=YEARLY)
    for field, part in bad.items():
        found = problem(
            http.post("/v1/schedules", json={"cron": YEARLY, "job": JOB, **part}),
            422,
            "invalid_request",
            field,
        )
        assert SECRET not in str(found)
        problem(http.patch(f"/v1/schedules/{made.id}", json=part), 422, "invalid_request", field)
    assert "a after b after a" in str(
        http.patch(f"/v1/schedules/{made.id}", json=bad["then"]).json()
    )
    headers = {"Idempotency-Key": "a b"}
    place = f"/v1/schedules/{made.id}/trigger"
    problem(http.post(place, headers=headers), 422, "invalid_request", "header:Idempotency-Key")
    tm.schedules.delete(made.id)


def test_a_job_reads_another(
    stack: RunningStack, tm: Textmill, http: httpx.Client, tmp_path: Path
) -> None:
    first = ended(
        tm.jobs.create(kind="echo", input=ITEMS, carry=["text", "score"], params={"upper": True})
    )
    second = tm.jobs.create(
        kind="echo",
        input=first,
        fields={"text": "fields.text"},
        carry=["output.text"],
        where=[{"field": "fields.score", "at_most": 0.1}],
    )
    results, _ = outcome(second)
    assert [(row["output"]["text"], row["fields"]) for row in results] == [
        ("text 0", {"output.text": "TEXT 0"}),
        ("text 1", {"output.text": "TEXT 1"}),
    ]
    words = ["submit", "echo", "--input", f"job:{first.id}", "--field", "text=output.text"]
    words += ["--where", "fields.score>=0.85", "-o", str(tmp_path / "out.jsonl")]
    textmill(stack, *words, cwd=tmp_path)
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(line)["output"] == {"text": "TEXT 9"}
    given = {"job": first.id, "text_field": "output.text"}
    running = tm.jobs.create(kind="echo", input=["a"], params={"delay_ms": 5000})
    for source in (f"job_{'0' * 26}", running.id):
        body = {"kind": "echo", "input": {**given, "job": source}}
        problem(http.post("/v1/jobs", json=body), 422, "invalid_request", "input.job")
    connections = Connections.open(Settings.from_environment(stack.embedded.environment()))
    name = f"t-{secrets.token_hex(4)}"
    TenantTable(connections.store, connections.ledger).create(name)
    _, key = KeyRing(connections.store, connections.ledger).create(name, "other")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.client.url, headers=headers, trust_env=False) as other:
        reply = other.post("/v1/jobs", json={"kind": "echo", "input": given})
        found = problem(reply, 422, "invalid_request", "input.job")
        assert "no such job" in found["detail"]
    running.cancel()


def test_the_command_makes_chains(stack: RunningStack, tmp_path: Path, receiver: Receiver) -> None:
    def run(*words: str) -> str:
        env = {"TEXTMILL_WEBHOOK_SECRET": SECRET}
        return textmill(stack, "schedules", *words, cwd=tmp_path, env=env).stdout

    (tmp_path / "job.json").write_text(json.dumps(JOB))
    (tmp_path / "steps.json").write_text(json.dumps([step("a"), step("b")]))
    words = ["--job", "job.json", "--then", "steps.json", "--cron", YEARLY]
    made = json.loads(run("create", *words, "--webhook-url", receiver.url, "--json"))
    assert [one["name"] for one in made["then"]] == ["a", "b"]
    assert made["webhook"] == {"url": receiver.url}
    whole = {"job": JOB, "then": [step("c")], "cron": YEARLY}
    (tmp_path / "schedule.json").write_text(json.dumps(whole))
    other = json.loads(run("create", "--from", "schedule.json", "--name", "n", "--json"))
    assert (other["name"], other["then"][0]["name"]) == ("n", "c")
    assert "waiting" in run("trigger", made["id"], "--idempotency-key", "k")
    assert "a " in run("runs", made["id"])
    assert run("deliveries", made["id"])
    for one in (made, other):
        run("delete", one["id"])


def test_the_guides_commands_run_as_they_stand(
    stack: RunningStack, tm: Textmill, tmp_path: Path
) -> None:
    """Only the kinds are others: the guide's need models and a corpus."""
    text = GUIDE.read_text("utf-8").replace("\\\n", " ")
    lines = [one for one in text.splitlines() if one.startswith("textmill ")]
    commands = [shlex.split(one, comments=True)[1:] for one in lines]
    assert [words[0] for words in commands] == ["submit"] * 2 + ["schedules"] * 3
    first = ended(
        tm.jobs.create(
            kind="echo",
            input=[{"text": "a", "country": "de", "score": 0.5}],
            carry=["country", "score"],
        )
    )
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    (tmp_path / "steps.json").write_text(json.dumps([step("train")]))
    made = ""
    for words in commands:
        told = [one.replace("job:JOB", f"job:{first.id}") for one in words]
        told = [made if one == "SCHEDULE" else one for one in told]
        if told[0] == "submit":
            told[1:4] = ["echo"]
            told = [one.replace("output.translation", "output.text") for one in told]
        found = json.loads(textmill(stack, *told, "--json", cwd=tmp_path).stdout)
        if "create" in told:
            made = found["id"]
        if told[0] == "submit":
            assert len(outcome(tm.jobs.get(found["id"]))[0]) == 1
    tm.schedules.delete(made)


def test_one_that_is_late_is_told_and_so_is_its_recovery(
    tm: Textmill, late: Schedule, receiver: Receiver
) -> None:
    def heard() -> list[str]:
        return [one["type"] for one in events(receiver, late.id)]

    wait_for(lambda: "schedule.late" in heard(), SECONDS)
    since = tm.schedules.get(late.id).late_since
    assert since is not None
    (told,) = [one for one in events(receiver, late.id) if one["type"] == "schedule.late"]
    assert datetime.fromisoformat(told["data"]["late_since"]) == since
    tm.schedules.change(late.id, job=JOB)
    tm.schedules.trigger(late.id)
    wait_for(lambda: "schedule.recovered" in heard(), SECONDS)
    assert heard() == ["schedule.run_failed", "schedule.late", "schedule.recovered"]
    assert tm.schedules.get(late.id).late_since is None
