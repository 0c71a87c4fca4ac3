"""Jobs that read the results of other jobs: what they take of them, and when those are not there."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest

from jobs.ids import new_id
from jobs.names import JobNames
from jobs.spec import JobSpec
from jobs.states import Status
from storage.files import FileTable
from storage.objects import ObjectStore
from storage.submission import read_manifest
from tests.integration.workers.trainings import REFERENCE
from tests.integration.workers.workshop import TENANT, Workshop

ITEMS = [
    {"custom_id": "a", "text": "one", "label": "x", "more": {"score": 0.95}},
    {"custom_id": "b", "text": "bad", "label": "y", "more": {"score": 0.97}},
    {"custom_id": "c", "text": "three", "label": "y", "more": {"score": 0.5}},
    {"text": "four", "label": "z", "more": {"score": 0.9}},
]


def submit(shop: Workshop, given: dict[str, Any], tenant: str = TENANT, **more: Any) -> str:
    body = {"kind": "echo", "input": given, **more}
    model = {"ref": REFERENCE} if more.get("model") else None
    return shop.submissions.submit(tenant, JobSpec.model_validate(body), model)[0].id


def first(shop: Workshop, *, done: bool = True) -> str:
    job = submit(
        shop,
        {"items": ITEMS, "carry": ["text", "label", "more"]},
        params={"upper": True, "fail_on": "bad"},
    )
    if done:
        shop.run(job)
    return job


def error(shop: Workshop, job: str) -> dict[str, Any]:
    record = shop.record(job)
    assert record.error is not None
    return record.error


def test_the_results_of_a_job_are_rows(shop: Workshop) -> None:
    source = first(shop)
    given = {
        "job": source,
        "text_field": "output.text",
        "fields": {"was": "fields.text", "index": "index"},
        "carry": ["was", "index", "fields.label"],
        "where": [{"field": "fields.more.score", "at_least": 0.9}],
    }
    job = submit(shop, given)
    shop.run(job)
    found = [(one["custom_id"], one["output"]["text"]) for one in shop.lines(job, "results")]
    assert found == [("a", "ONE"), (None, "FOUR")]
    assert [one["fields"] for one in shop.lines(job, "results")] == [
        {"was": "one", "index": 0, "fields.label": "x"},
        {"was": "four", "index": 3, "fields.label": "z"},
    ]
    assert shop.record(job).total == 2
    plan = orjson.loads(shop.store.get(JobNames(TENANT, job).plan))
    named = read_manifest(shop.store, JobNames(TENANT, source))["outputs"]["results"]["object"]
    (pinned,) = plan["sources"]
    assert (pinned["key"], pinned["etag"]) == (named, shop.store.stat(named).etag)
    assert pinned["name"] == f"job:{source}"


def test_a_row_that_cannot_be_read_says_which_result_it_was(shop: Workshop) -> None:
    source = first(shop)
    job = submit(shop, {"job": source, "text_field": "output.nothing"})
    shop.run(job)
    found = [
        (one["error"]["code"], one["source"], one["line"]) for one in shop.lines(job, "errors")
    ]
    assert found == [("missing_text", f"job:{source}", line) for line in (1, 2, 3)]


def test_nothing_that_is_wanted(shop: Workshop) -> None:
    where = [{"field": "output.text", "equals": "nobody"}]
    job = submit(shop, {"job": first(shop), "text_field": "output.text", "where": where})
    shop.run(job)
    assert error(shop, job)["code"] == "empty_input"


@pytest.mark.parametrize("state", ["runs", "cancelled", "tried again", "deleted", "of another"])
def test_a_job_that_cannot_be_read(shop: Workshop, state: str) -> None:
    source = first(shop, done=state in ("tried again", "deleted", "of another"))
    code = "input_not_completed"
    match state:
        case "cancelled":
            shop.plan(source)
            shop.submissions.cancel(TENANT, source)
            shop.finalize(source)
        case "tried again":
            shop.submissions.retry(TENANT, source)
        case "deleted":
            shop.submissions.delete(TENANT, source)
            code = "input_missing"
        case "of another":
            code = "input_missing"
    tenant = "other" if state == "of another" else TENANT
    job = submit(shop, {"job": source, "text_field": "output.text"}, tenant)
    shop.plan(job)
    shop.finalize(job)
    record = shop.ledger.jobs.get(tenant, job)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert (record.error["code"], record.error["field"]) == (code, "input.job")
    for one in (source, job):
        found = shop.ledger.jobs.find(one)
        if found is not None and not found.status.ended:
            shop.submissions.cancel(found.tenant, one)
            shop.finalize(one)


def test_one_that_was_planned_does_not_need_it_any_more(shop: Workshop) -> None:
    source = first(shop)
    job = submit(shop, {"job": source, "text_field": "output.text"})
    shop.plan(job)
    shop.submissions.delete(TENANT, source)
    shop.work()
    shop.finalize(job)
    assert shop.outcome(job)[:2] == (Status.COMPLETED, {0: "ONE", 1: "THREE", 2: "FOUR"})


def test_what_was_tried_again_is_read_whole(shop: Workshop) -> None:
    source = first(shop)
    shop.submissions.retry(TENANT, source)
    shop.run(source)
    job = submit(shop, {"job": source, "text_field": "fields.text"})
    shop.run(job)
    assert shop.outcome(job)[1] == {0: "one", 1: "three", 2: "four"}


def test_one_that_goes_away_while_it_is_read(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = first(shop)
    job = submit(shop, {"job": source, "text_field": "output.text"})
    stream = ObjectStore.stream

    def late(store: ObjectStore, name: str, **more: Any) -> Any:
        if f"/jobs/{source}/out/" in name:
            shop.submissions.delete(TENANT, source)
        return stream(store, name, **more)

    monkeypatch.setattr(ObjectStore, "stream", late)
    shop.plan(job)
    monkeypatch.undo()
    shop.finalize(job)
    assert error(shop, job)["code"] == "input_missing"


def test_a_training_reads_the_results_that_are_sure(shop: Workshop) -> None:
    """Its validation file has columns of its own."""
    data = orjson.dumps({"text": "held out", "label": "v"}) + b"\n"
    held_out = FileTable(shop.store).upload(TENANT, "rows.jsonl", io.BytesIO(data), 1 << 20).id
    job = submit(
        shop,
        {
            "job": first(shop),
            "text_field": "fields.text",
            "where": [{"field": "fields.more.score", "at_least": 0.9}],
        },
        kind="sums",
        model=REFERENCE,
        params={"output_name": "sure", "validation": held_out},
    )
    shop.run(job)
    (line,) = shop.lines(job, "results")
    assert line["output"]["metrics"] == {"rows": 2, "validation": 1}


@pytest.mark.parametrize("format_", ["text", "documents"])
def test_the_text_of_a_plain_file_is_carried_too(shop: Workshop, format_: str) -> None:
    file = FileTable(shop.store).upload(TENANT, "a.txt", io.BytesIO(b"one"), 1 << 20).id
    job = submit(shop, {"file": file, "format": format_, "carry": ["text", "other"]})
    shop.run(job)
    (line,) = shop.lines(job, "results")
    assert line["fields"] == {"text": "one", "other": None}


def test_no_job_by_that_id(shop: Workshop) -> None:
    job = submit(shop, {"job": new_id("job"), "text_field": "output.text"})
    shop.plan(job)
    shop.finalize(job)
    assert error(shop, job)["code"] == "input_missing"
