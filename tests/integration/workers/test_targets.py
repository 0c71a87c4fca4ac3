"""Output that a submission wants elsewhere too: whole, in its format, and never at the job's cost."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from jobs.errors import Unavailable
from jobs.spec import JobSpec
from jobs.states import Status
from storage.objects import ObjectStore
from storage.rebuild import rebuild
from tests.integration.workers.workshop import TENANT, Workshop, texts
from workers import targets

FORMATS = ["jsonl", "csv", "parquet"]


@pytest.fixture
def elsewhere(shop: Workshop) -> Iterator[ObjectStore]:
    """A bucket of somebody else's, on the same server."""
    made = shop.store.in_bucket(f"elsewhere-{secrets.token_hex(6)}")
    made.ensure_bucket()
    yield made
    for found in made.list(""):
        made.delete(found.name)
    made._client.remove_bucket(bucket_name=made.bucket)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_PAUSES", (0.01, 0.01))


def submit(shop: Workshop, uri: str, format_: str, rows: list[str | None] | None = None) -> str:
    items = [{} if text is None else {"text": text} for text in rows or [*texts(7), None]]
    body = {
        "kind": "echo",
        "input": {"items": items},
        "output": {"uri": uri, "format": format_},
        "max_errors": 100,
    }
    spec = JobSpec.model_validate_json(orjson.dumps(body))
    return shop.submissions.submit(TENANT, spec, None)[0].id


def names(store: ObjectStore) -> list[str]:
    return [found.name for found in store.list("")]


def indexes(store: ObjectStore, name: str) -> list[int]:
    data = store.get(name)
    if name.endswith(".parquet"):
        return [int(index) for index in pq.read_table(io.BytesIO(data))["index"].to_pylist()]
    if name.endswith(".csv"):
        return [int(row["index"]) for row in csv.DictReader(io.StringIO(data.decode()))]
    return [int(orjson.loads(line)["index"]) for line in data.splitlines()]


@pytest.mark.parametrize("wanted", FORMATS)
def test_output_lies_where_it_was_wanted(
    shop: Workshop, elsewhere: ObjectStore, wanted: str
) -> None:
    job = submit(shop, f"s3://{elsewhere.bucket}/a/b/", wanted)
    shop.run(job)
    folder = f"a/b/{job}/"
    assert sorted(names(elsewhere)) == sorted(
        folder + name for name in ("_SUCCESS", f"errors.{wanted}", f"results.{wanted}")
    )
    assert indexes(elsewhere, f"{folder}results.{wanted}") == list(range(7))
    assert indexes(elsewhere, f"{folder}errors.{wanted}") == [7]
    record = shop.record(job)
    assert (record.status, record.warnings) == (Status.COMPLETED, [])
    shown = record.public()["output"]
    assert shown == {"format": wanted, "uri": f"s3://{elsewhere.bucket}/a/b/", "layout": "job"}


def test_a_bucket_may_be_taken_whole(shop: Workshop, elsewhere: ObjectStore) -> None:
    job = submit(shop, f"s3://{elsewhere.bucket}/", "jsonl")
    shop.run(job)
    assert f"{job}/_SUCCESS" in names(elsewhere)


def test_every_end_is_written_with_what_was_done(shop: Workshop, elsewhere: ObjectStore) -> None:
    job = submit(shop, f"s3://{elsewhere.bucket}/", "jsonl")
    shop.plan(job)
    shop.lease(job)
    shop.work()
    shop.submissions.cancel(TENANT, job)
    shop.finalize(job)
    assert shop.record(job).status is Status.CANCELLED
    done = [line["index"] for line in shop.lines(job, "results")]
    assert len(done) == 3
    assert indexes(elsewhere, f"{job}/results.jsonl") == done
    assert f"{job}/_SUCCESS" in names(elsewhere)


def test_a_retry_replaces_it_by_the_whole(
    shop: Workshop, elsewhere: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(shop, f"s3://{elsewhere.bucket}/", "csv", texts(8))
    shop.plan(job)
    shop.submissions.cancel(TENANT, job)
    shop.finalize(job)
    assert indexes(elsewhere, f"{job}/results.csv") == []
    order: list[str] = []
    put_stream, delete = ObjectStore.put_stream, ObjectStore.delete

    def noted(what: str, call: Any) -> Any:
        def noting(self: ObjectStore, name: str, *rest: Any) -> Any:
            if self.bucket == elsewhere.bucket:
                order.append(f"{what} {name.rpartition('/')[2]}")
            return call(self, name, *rest)

        return noting

    monkeypatch.setattr(ObjectStore, "put_stream", noted("stream", put_stream))
    monkeypatch.setattr(ObjectStore, "delete", noted("delete", delete))
    shop.submissions.retry(TENANT, job)
    shop.run(job)
    assert order == ["delete _SUCCESS", "stream results.csv", "stream errors.csv"]
    assert indexes(elsewhere, f"{job}/results.csv") == list(range(8))
    assert f"{job}/_SUCCESS" in names(elsewhere)


def test_a_finalizer_that_dies_in_the_middle_leaves_it_to_the_next(
    shop: Workshop, elsewhere: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    job = submit(shop, f"s3://{elsewhere.bucket}/", "parquet")
    shop.plan(job)
    shop.work()
    put_stream = ObjectStore.put_stream

    def dies(self: ObjectStore, name: str, *rest: Any) -> Any:
        if name.endswith("errors.parquet"):
            raise Killed
        return put_stream(self, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put_stream", dies)
        with pytest.raises(Killed):
            shop.finalize(job)
    assert names(elsewhere) == [f"{job}/results.parquet"], "no sign that it were whole"
    first = elsewhere.get(f"{job}/results.parquet")
    assert not shop.record(job).status.ended
    shop.give_up_roles(job)
    shop.finalize(job)
    assert shop.record(job).status is Status.COMPLETED
    assert f"{job}/_SUCCESS" in names(elsewhere)
    assert elsewhere.get(f"{job}/results.parquet") == first, "the same bytes, whoever writes them"


def test_a_bucket_that_is_not_there_costs_a_warning(shop: Workshop) -> None:
    job = submit(shop, f"s3://nobodys-{secrets.token_hex(6)}/a/", "csv")
    shop.run(job)
    record = shop.record(job)
    assert record.status is Status.COMPLETED
    (warning,) = record.warnings
    assert (warning["code"], warning["field"]) == ("output_not_written", "output.uri")
    assert [line["index"] for line in shop.lines(job, "results")] == list(range(7))
    assert record.public()["warnings"] == record.warnings
    shop.ledger.client.redis.flushall()
    rebuild(shop.store, shop.ledger, shop.installation.id)
    assert shop.record(job).warnings == [warning]


def refused(bucket: str, times: int) -> Any:
    """Writes to a bucket fail so many times."""
    put_stream = ObjectStore.put_stream
    left = times

    def put(self: ObjectStore, name: str, *rest: Any) -> Any:
        nonlocal left
        if self.bucket == bucket and left > 0:
            left -= 1
            raise Unavailable(f"the object store answered AccessDenied for {name}")
        return put_stream(self, name, *rest)

    return put


def test_a_target_that_refuses_for_a_moment_is_tried_again(
    shop: Workshop, elsewhere: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(shop, f"s3://{elsewhere.bucket}/", "csv")
    monkeypatch.setattr(ObjectStore, "put_stream", refused(elsewhere.bucket, 2))
    shop.run(job)
    assert shop.record(job).warnings == []
    assert f"{job}/_SUCCESS" in names(elsewhere)


def test_a_target_that_refuses_costs_a_warning_that_says_why(
    shop: Workshop, elsewhere: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(shop, f"s3://{elsewhere.bucket}/", "csv")
    monkeypatch.setattr(ObjectStore, "put_stream", refused(elsewhere.bucket, 99))
    shop.run(job)
    record = shop.record(job)
    assert record.status is Status.COMPLETED
    assert "AccessDenied" in record.warnings[0]["message"]
    assert names(elsewhere) == []


def test_a_store_that_is_away_as_a_whole_is_waited_for(
    shop: Workshop, elsewhere: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: ObjectStore) -> None:
        raise Unavailable("the object store cannot be reached")

    job = submit(shop, f"s3://{elsewhere.bucket}/", "csv")
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put_stream", refused(elsewhere.bucket, 99))
        patch.setattr(ObjectStore, "probe", away)
        shop.run(job)
    record = shop.record(job)
    assert record.status is Status.FINALIZING
    assert record.waiting == "the object store cannot be reached"
    shop.give_up_roles(job)
    shop.finalize(job)
    assert shop.record(job).warnings == []
