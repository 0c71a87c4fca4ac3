"""Jobs as values, waiting for them, and errors of the API as exceptions."""

from __future__ import annotations

import dataclasses
import gc
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.client.scripted import (
    JOB,
    JOB_ID,
    KEY,
    Answer,
    Request,
    ScriptedServer,
    job,
    problem,
    reply,
)
from textmill import (
    ApiError,
    Conflict,
    FieldError,
    Forbidden,
    InvalidRequest,
    Job,
    JobFailed,
    NotFound,
    RateLimited,
    RetryPolicy,
    Textmill,
    Unauthenticated,
    Unavailable,
    WaitTimeout,
)


def test_a_job_is_a_frozen_value_that_keeps_what_it_does_not_know(
    server: ScriptedServer, tm: Textmill
) -> None:
    raw = job("completed", new_field={"a": 1}) | {"status": "paused"}
    server.on("GET", JOB, reply(raw))
    found = tm.jobs.get(JOB_ID)
    assert found.raw == raw
    assert found == tm.jobs.get(JOB_ID)
    assert hash(found) == hash(tm.jobs.get(JOB_ID))
    assert found.created_at == datetime(2026, 11, 2, 12, tzinfo=UTC)
    assert found.seconds == 24.25
    assert (found.counts.total, found.counts.done) == (10_000, 10_000)
    assert found.progress.rows_per_second == 412.345
    assert found.model is not None
    assert found.model["ref"] == "registry:tickets@3"
    assert not found.ended
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.status = "completed"  # type: ignore[misc]  # the fault


def test_jobs_are_listed_over_all_pages(server: ScriptedServer, tm: Textmill) -> None:
    def page(request: Request) -> Answer:
        after = int(request.query.get("after", "0"))
        more = after < 4
        jobs = [job(id=f"job_{after}"), job(id=f"job_{after + 1}")]
        return reply({"data": jobs, "has_more": more, "next_after": str(after + 2)})

    server.on("GET", "/v1/jobs", page)
    found = tm.jobs.list(status="completed", kind="fine-tune")
    assert next(found).id == "job_0"
    assert len(server.requests) == 1
    assert [one.id for one in found] == [f"job_{n}" for n in range(1, 6)]
    assert server.requests[-1].query == {
        "status": "completed",
        "kind": "fine_tune",
        "after": "4",
        "limit": "100",
    }


def test_waiting_follows_changes_until_the_end(server: ScriptedServer, tm: Textmill) -> None:
    server.on("POST", "/v1/jobs", reply(job("validating"), 201))
    server.on(
        "GET",
        JOB,
        reply(job("in_progress"), ETag='"2"'),
        Answer(status=304, headers={"ETag": '"2"'}),
        reply(job("finalizing"), ETag='"3"'),
        reply(job("completed"), ETag='"4"'),
    )
    seen: list[str] = []
    submitted = tm.jobs.create(kind="classify", input=["a"])
    ended = submitted.wait(progress=lambda one: seen.append(one.status))
    assert seen == ["validating", "in_progress", "finalizing", "completed"]
    assert (submitted.status, ended.status) == ("validating", "completed")
    polls = server.asked("GET", JOB)
    assert [poll.headers.get("if-none-match") for poll in polls] == [None, '"2"', '"2"', '"3"']
    assert [poll.query.get("wait") for poll in polls] == [None, "25", "25", "25"]


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_a_job_that_does_not_complete_is_an_exception(
    server: ScriptedServer, tm: Textmill, status: str
) -> None:
    cause = {"code": "model_not_found", "message": "no such model", "field": "model"}
    server.on("GET", JOB, reply(job()), reply(job(status, error=cause)))
    with pytest.raises(JobFailed, match="no such model") as caught:
        tm.jobs.get(JOB_ID).wait()
    assert caught.value.job.status == status
    assert caught.value.code == "model_not_found"
    assert JOB_ID in str(caught.value)


def test_waiting_ends_at_its_timeout(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", JOB, reply(job()))
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match="goes on"):
        tm.jobs.get(JOB_ID).wait(timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 5


def test_waiting_outlives_an_outage(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textmill.waiting.OUTAGE_GAP", 0.01)
    down = problem(503, "unavailable", "restarting")
    server.on("GET", JOB, reply(job()), down, down, down, reply(job("completed")))
    with Textmill(server.url, KEY, retry=RetryPolicy(attempts=1)) as tm:
        assert tm.jobs.get(JOB_ID).wait().status == "completed"


def test_waiting_gives_up_when_an_outage_does_not_end(server: ScriptedServer) -> None:
    server.on("GET", JOB, reply(job()), problem(503, "unavailable", "restarting"))
    with Textmill(server.url, KEY, retry=RetryPolicy(attempts=1, outage_seconds=0)) as tm:
        found = tm.jobs.get(JOB_ID)
        with pytest.raises(Unavailable):
            found.wait()


def test_a_quick_server_is_not_asked_without_pause(server: ScriptedServer, tm: Textmill) -> None:
    changes = [job(attempts=n) for n in range(2, 2000)]
    server.on("GET", JOB, *[reply(one) for one in changes])
    with pytest.raises(WaitTimeout):
        tm.jobs.get(JOB_ID).wait(timeout=1.5)
    assert len(server.requests) < 15


def test_a_job_outlives_the_client_object_that_made_it(server: ScriptedServer) -> None:
    server.on("GET", JOB, reply(job()), reply(job("completed")))

    def make() -> Job:
        return Textmill(server.url, KEY).jobs.get(JOB_ID)

    found = make()
    gc.collect()
    assert found.refresh().status == "completed"
    del found
    gc.collect()  # an open socket left behind would be a ResourceWarning, and warnings are errors


def test_cancel(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", JOB, reply(job()))
    server.on("POST", f"{JOB}/cancel", reply(job("cancelling")))
    assert tm.jobs.get(JOB_ID).cancel().status == "cancelling"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (415, InvalidRequest),
        (422, InvalidRequest),
        (429, RateLimited),
        (500, ApiError),
        (503, Unavailable),
        (418, ApiError),
    ],
)
def test_a_problem_document_becomes_an_exception(
    server: ScriptedServer, status: int, kind: type[ApiError]
) -> None:
    wrong = {"field": "params.top_k", "reason": "expected at least 1", "value": "0"}
    server.on("GET", JOB, problem(status, "some_code", "what happened", errors=[wrong]))
    once = RetryPolicy(attempts=1)
    with Textmill(server.url, KEY, retry=once) as tm, pytest.raises(ApiError) as caught:
        tm.jobs.get(JOB_ID)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.detail) == (status, "some_code", "what happened")
    assert error.request_id == "req_1"
    assert error.errors == (
        FieldError(field="params.top_k", reason="expected at least 1", value="0"),
    )
    assert error.problem()["type"].endswith("/errors/some_code")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(status=404, body=b"<html>not here</html>"), "404 Not Found"),
        (Answer(status=413, body=b'["not an object"]'), "413"),
        (Answer(status=500, body=b"\xff\xfe"), "500 Internal Server Error"),
        (Answer(status=500, body=b"boom\n", headers={"Content-Type": "text/plain"}), "boom"),
        (Answer(status=301, headers={"Location": "https://new.example"}), "https://new.example"),
        (Answer(status=599), "599"),
        (Answer(body=b"<html>", headers={"Content-Type": "text/html"}), "is this a Textmill"),
    ],
)
def test_what_is_no_problem_document_still_gives_a_clear_error(
    server: ScriptedServer, tm: Textmill, answer: Answer, message: str
) -> None:
    server.on("GET", JOB, answer)
    with pytest.raises(ApiError, match=message) as caught:
        tm.jobs.get(JOB_ID)
    assert caught.value.status == answer.status


@pytest.mark.parametrize(
    "body", [None, [], "text", {}, {"id": JOB_ID}, job() | {"created_at": "now"}]
)
def test_json_of_another_shape_is_a_clear_error(
    server: ScriptedServer, tm: Textmill, body: object
) -> None:
    server.on("GET", JOB, reply(body))
    with pytest.raises(ApiError, match="is this a Textmill server") as caught:
        tm.jobs.get(JOB_ID)
    assert caught.value.code == "unexpected_reply"


def test_every_call_carries_the_key(server: ScriptedServer, tm: Textmill) -> None:
    server.on("GET", JOB, reply(job()))
    tm.jobs.get(JOB_ID)
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"].startswith("textmill/")


def test_models_kinds_and_workers(server: ScriptedServer, tm: Textmill) -> None:
    model: dict[str, Any] = {
        "name": "tickets",
        "versions": [
            {
                "version": "1",
                "created_at": "2026-11-02T12:00:00.000Z",
                "source": "hf:org/name",
                "bytes": 9,
            }
        ],
        "aliases": {"prod": "1"},
    }
    server.on("GET", "/v1/models", reply({"data": [model], "has_more": False, "next_after": None}))
    server.on("GET", "/v1/models/tickets", reply(model))
    server.on("PUT", "/v1/models/tickets/aliases/prod", reply(model))
    server.on("POST", "/v1/models", reply(job(kind="import_model"), 201))
    server.on(
        "GET", "/v1/workers", reply({"data": [{"id": "w", "device": "cpu", "models": ["m"]}]})
    )
    assert [one.name for one in tm.models.list()] == ["tickets"]
    assert tm.models.get("tickets").versions[0].source == "hf:org/name"
    assert tm.models.alias("tickets", "prod", "1") == model
    assert server.requests[-1].json == {"version": "1"}
    assert tm.models.import_model("hf:org/name", name="tickets").kind == "import_model"
    assert server.requests[-1].json == {"ref": "hf:org/name", "name": "tickets"}
    assert tm.workers.list()[0].models == ("m",)
