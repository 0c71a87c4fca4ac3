"""Webhooks and outputs as users meet them, on a whole stack."""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from minio import Minio
from standardwebhooks import Webhook

from api.schemas.webhooks import DeliveryPage, DeliveryView
from tests.integration.stack.dialogue import ended, outcome, problem, submission
from tests.integration.stack.running import RunningStack, wait_for
from tests.receivers import Heard, Receiver
from textmill import Job, Textmill

#: Generous: a busy machine may take long for what is done in a second.
SECONDS = 60.0


@pytest.fixture
def secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def deliveries(http: httpx.Client, job: Job) -> list[dict[str, Any]]:
    reply = http.get(job.raw["links"]["deliveries"])
    assert reply.status_code == 200
    DeliveryPage.model_validate(reply.json())
    found: list[dict[str, Any]] = reply.json()["data"]
    return found


def delivered(http: httpx.Client, job: Job, attempts: int) -> bool:
    (one,) = deliveries(http, job) or [{"status": None, "attempt_count": None}]
    return (one["status"], one["attempt_count"]) == ("delivered", attempts)


def test_a_receiver_is_told_and_told_again(
    stack: RunningStack, tm: Textmill, http: httpx.Client, receiver: Receiver, secret: str
) -> None:
    job = tm.jobs.create(
        kind="echo", input=["a", "b"], webhook_url=receiver.url, webhook_secret=secret
    )
    assert job.raw["links"]["deliveries"] == f"/v1/jobs/{job.id}/deliveries"
    assert len(outcome(job)[0]) == 2
    wait_for(lambda: delivered(http, job, 1), SECONDS)
    (one,) = deliveries(http, job)
    assert one["id"] == f"{job.id}:1:completed"
    assert one["attempts"][0]["status"] == 204

    again = http.post(f"/v1/jobs/{job.id}/deliveries/{one['id']}/resend")
    assert again.status_code == 200
    DeliveryView.model_validate(again.json())
    wait_for(lambda: delivered(http, job, 2), SECONDS)
    first, second = receiver.heard
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == one["id"]
    told = Webhook(secret).verify(first.body, first.headers)
    assert (told["type"], told["data"]["id"]) == ("job.completed", job.id)
    assert first.body == second.body

    logs = "".join(path.read_text("utf-8", "replace") for path in stack.data_dir.rglob("*.log"))
    assert one["id"] in logs
    assert secret not in logs
    assert secret not in str([http.get(f"/v1/jobs/{job.id}").text, again.text, first.body])

    problem(http.post(f"/v1/jobs/{job.id}/deliveries/x/resend"), 404, "not_found")
    listing = f"/v1/jobs/{job.id}/deliveries"
    problem(http.get(f"{listing}?limit=0"), 422, "invalid_request", "limit")
    problem(http.get(f"{listing}?after=%00"), 422, "invalid_request", "after")
    assert http.get(f"{listing}?after={one['id']}").json()["data"] == []
    tm.jobs.delete(job.id)
    problem(http.get(f"/v1/jobs/{job.id}/deliveries"), 404, "not_found")


def test_the_scheduler_is_killed_in_the_middle_of_a_delivery(
    stack: RunningStack, tm: Textmill, http: httpx.Client, receiver: Receiver, secret: str
) -> None:
    killed = threading.Event()

    def answer(_receiver: Receiver, _heard: Heard) -> tuple[int, dict[str, str], bytes]:
        killed.wait(SECONDS)
        return 204, {}, b""

    receiver.answer = answer
    job = tm.jobs.create(kind="echo", input=["a"], webhook_url=receiver.url, webhook_secret=secret)
    wait_for(lambda: receiver.heard, SECONDS)
    victim = stack.process("scheduler")
    assert victim is not None
    victim.kill()
    killed.set()
    wait_for(lambda: delivered(http, job, 1), SECONDS)
    stack.note_processes()
    assert len(receiver.heard) == 2, "at least once: nobody knew that it had arrived"
    assert {heard.headers["webhook-id"] for heard in receiver.heard} == {f"{job.id}:1:completed"}
    assert len({heard.body for heard in receiver.heard}) == 1


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        ({}, "webhook.url"),
        ({"url": "https://example.org/"}, "webhook.secret"),
        ({"url": "https://example.org/", "secret": "SECRET", "more": 1}, "webhook.more"),
        ({"url": "https://169.254.169.254/latest/", "secret": "SECRET"}, "webhook.url"),
        ({"url": "http://127.0.0.2/", "secret": "SECRET"}, "webhook.url"),
        ({"url": "http://[::1]/", "secret": "SECRET"}, "webhook.url"),
        ({"url": "http://2130706433/", "secret": "SECRET"}, "webhook.url"),
        ({"url": "https://me:SECRET@example.org/", "secret": "SECRET"}, "webhook.url"),
        ({"url": "https://example.org/#a", "secret": "SECRET"}, "webhook.url"),
        ({"url": "https://example.org/" + "a" * 2048, "secret": "SECRET"}, "webhook.url"),
        ({"url": "https://example.org/", "secret": "SECRET="}, "webhook.secret"),
        ({"url": "https://example.org/", "secret": ["SECRET"]}, "webhook.secret"),
        ("SECRET", "webhook"),
    ],
)
def test_a_webhook_that_is_refused(
    http: httpx.Client, secret: str, webhook: object, field: str
) -> None:
    def filled(value: object) -> object:
        match value:
            case str():
                return value.replace("SECRET", secret)
            case dict():
                return {name: filled(one) for name, one in value.items()}
            case list():
                return [filled(one) for one in value]
        return value

    reply = http.post("/v1/jobs", json=submission(webhook=filled(webhook)))
    problem(reply, 422, "invalid_request", field)
    assert secret not in reply.text


def test_output_lies_where_it_was_wanted_too(
    tm: Textmill, http: httpx.Client, s3: Minio, folder: str
) -> None:
    uri = f"s3://corpora/{folder}"
    job = ended(tm.jobs.create(kind="echo", input=["a", "b"], output_uri=uri, output_format="csv"))
    assert job.raw["output"] == {"format": "csv", "uri": uri, "layout": "job"}
    found = {one.object_name for one in s3.list_objects("corpora", folder, recursive=True)}
    assert found == {
        f"{folder}{job.id}/{name}" for name in ("results.csv", "errors.csv", "_SUCCESS")
    }
    written = s3.get_object("corpora", f"{folder}{job.id}/results.csv")
    assert written.data == http.get(f"/v1/jobs/{job.id}/results?format=csv").content
    written.close()


@pytest.mark.parametrize(
    "output",
    [
        {"uri": "s3://textmill/tenants/default/"},
        {"uri": "s3://textmill/a/"},
        {"uri": "s3://somebody-elses/a/"},
        {"uri": "s3://corpora/a"},
        {"uri": "s3://corpora/../textmill/"},
        {"uri": "s3://corpora/a//b/"},
        {"uri": "https://corpora/a/"},
        {"uri": "s3://corpora/a/", "format": "xml"},
        {"format": "csv"},
    ],
)
def test_an_output_that_is_refused(http: httpx.Client, output: dict[str, str]) -> None:
    reply = http.post("/v1/jobs", json=submission(output=output))
    field = "output.format" if output.get("format") == "xml" else "output.uri"
    problem(reply, 422, "invalid_request", field)


def test_the_document_tells_of_all_of_it(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for path in (
        "/v1/jobs/{job_id}/deliveries",
        "/v1/jobs/{job_id}/deliveries/{delivery_id}/resend",
    ):
        assert path in document["paths"]
    secret = document["components"]["schemas"]["WebhookSpec"]["properties"]["secret"]
    assert secret["writeOnly"] is True
