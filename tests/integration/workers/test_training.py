"""A training on its way through planner, worker and finalizer, and where it ends."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import orjson
import pytest

from jobs.rows import BadRow, Row, decode_shard_row
from jobs.states import Status
from storage.files import FileTable
from storage.parts import shard_text
from tests.integration.workers.trainings import REFERENCE, TEXTS, Trainings
from tests.integration.workers.workshop import TENANT
from tests.plugins.sums_kind import expected_state


def upload(trainings: Trainings, rows: list[dict[str, Any]]) -> str:
    """An uploaded file of these rows; its id."""
    data = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    files = FileTable(trainings.shop.store)
    return files.upload(TENANT, "rows.jsonl", io.BytesIO(data or b"\n"), 1 << 20).id


def kept(trainings: Trainings, job: str, name: str) -> list[Row | BadRow]:
    """The rows that were kept of one source."""
    store, names = trainings.shop.store, trainings.shop.names(job)
    pieces = [found.name for found in store.list(f"{names.data}{name}/")]
    return [
        decode_shard_row(line)
        for piece in pieces
        for line in shard_text(store.get(piece)).splitlines()
    ]


def test_a_training_from_start_to_end(trainings: Trainings) -> None:
    job = trainings.submit(steps=20)
    trainings.shop.run(job)
    record = trainings.shop.record(job)
    assert (record.status, record.total, record.completed) == (Status.COMPLETED, 1, 1)
    assert trainings.state(job) == expected_state(TEXTS, 20, REFERENCE)
    version = trainings.version(job)
    (line,) = trainings.shop.lines(job, "results")
    assert line == {
        "custom_id": None,
        "index": 0,
        "output": {
            "model": "added",
            "version": version.version,
            "metrics": {"rows": 7, "validation": 0},
        },
        "usage": {"input_tokens": 20, "output_tokens": 0},
    }
    assert version.source == f"job:{job}"
    assert trainings.checkpoints(job) == {}  # nobody needs them any more
    trainings.nobody_left()


def test_what_users_see_of_it(trainings: Trainings) -> None:
    job = trainings.submit(steps=20)
    trainings.shop.run(job)
    block = trainings.block(job)
    assert (block["step"], block["steps"], block["loss"]) == (20, 20, 1 / 20)
    assert block["evaluation"] == {"step": 20, "metrics": {"accuracy": 0.5}}
    assert [point[0] for point in block["curve"]] == list(range(1, 21))
    events = trainings.log(job)
    assert [one["step"] for one in events if one["event"] == "step"] == list(range(1, 21))
    assert {"event": "checkpoint", "step": 20} in events  # and not where it lay on that host
    assert trainings.shop.record(job).public()["training"] == block


def test_its_rows_are_kept_as_data_good_and_bad_ones(trainings: Trainings) -> None:
    validation = upload(trainings, [{"text": "one", "weight": 3}, {"body": "none"}])
    rows = [{"text": "good", "weight": 2, "other": 1}, {"text": "bad"}, {"txt": 1}, {"text": "ok"}]
    job = trainings.submit(rows, validation=validation, weight_field="weight")
    trainings.shop.run(job)
    good, refused, unread, last = kept(trainings, job, "input")
    assert isinstance(good, Row)
    assert (good.text, good.fields) == ("good", {"weight": 2})
    assert isinstance(refused, BadRow)
    assert refused.failure.code == "bad_sum"
    assert isinstance(unread, BadRow)
    assert unread.failure.code == "missing_text"
    assert (last.index, [row.index for row in kept(trainings, job, "validation")]) == (3, [0, 1])
    (line,) = trainings.shop.lines(job, "results")
    assert line["output"]["metrics"] == {"rows": 2, "validation": 2}


def test_planned_again_it_has_the_same_pieces(trainings: Trainings) -> None:
    shop, job = trainings.shop, trainings.submit()
    shop.plan(job)

    def objects() -> dict[str, str]:
        names = shop.names(job)
        found = [*shop.store.list(names.data), *shop.store.list(names.shards)]
        return {one.name: hashlib.sha256(shop.store.get(one.name)).hexdigest() for one in found}

    before = objects()
    for gone in (shop.names(job).data_record, shop.names(job).sealed):
        shop.store.delete(gone)
    shop.ledger.client.redis.hdel(f"job:{job}", "sealed")
    shop.give_up_roles(job)
    shop.plan(job)
    assert objects() == before
    shop.work()
    shop.finalize(job)
    assert trainings.state(job) == expected_state(TEXTS, 20, REFERENCE)


@pytest.mark.parametrize(
    ("rows", "limit", "code", "field"),
    [
        ([{"text": "bad"}, {"text": "a"}], 0, "too_many_errors", "max_errors"),
        ([{"text": "bad"}, {"text": "a"}, {"text": "b"}], "33%", "too_many_errors", "max_errors"),
        ([{"text": "bad"}, {"text": "a"}, {"text": "b"}], "34%", None, None),
    ],
)
def test_too_many_bad_rows(
    trainings: Trainings, rows: list[Any], limit: int | str, code: str | None, field: str | None
) -> None:
    job = trainings.submit(rows, {"max_errors": limit})
    trainings.shop.run(job)
    error = trainings.shop.record(job).error or {}
    assert (error.get("code"), error.get("field")) == (code, field)


def test_no_rows(trainings: Trainings) -> None:
    given = {"input": {"file": upload(trainings, [])}}
    job = trainings.submit(spec=given)
    trainings.shop.run(job)
    assert (trainings.shop.record(job).error or {})["code"] == "empty_input"


def test_a_file_that_is_not_there(trainings: Trainings) -> None:
    job = trainings.submit(validation="file_01k5b3w7m3v9q8z2c4x6t1n0ra")
    trainings.shop.run(job)
    error = trainings.shop.record(job).error or {}
    assert (error["code"], error["field"]) == ("input_missing", "params.validation")


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ({"fail_at": 3}, "invalid_params", "do not add up"),
        ({"break_at": 3}, "kind_broken", "ZeroDivisionError: a bug in the sums"),
        ({"fill_at": 3}, "disk_full", "No space left"),
        ({"kill_at": 3}, "worker_lost", "3 times without a newer checkpoint"),
    ],
)
def test_a_training_that_fails_says_why(
    trainings: Trainings, how: dict[str, Any], code: str, words: str
) -> None:
    job = trainings.submit(**how)
    trainings.shop.run(job)
    record = trainings.shop.record(job)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert record.error["code"] == code
    assert words in record.error["message"]
    assert trainings.shop.lines(job, "results") == []
    trainings.nobody_left()


def test_a_failed_training_is_tried_again_from_its_newest_checkpoint(trainings: Trainings) -> None:
    shop = trainings.shop
    job = trainings.submit(fill_at=12, step_ms=20)
    shop.run(job)
    assert (shop.record(job).error or {})["code"] == "disk_full"
    shop.submissions.retry(TENANT, job)
    shop.run(job)
    assert (shop.record(job).status, shop.record(job).attempts) == (Status.COMPLETED, 2)
    assert trainings.begun(job)[-1] == 10
    assert trainings.state(job) == expected_state(TEXTS, 20, REFERENCE)
