"""Output laid out by date, on a real store: what readers of data sets find there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pandas as pd
import pyarrow.fs as pa_fs
import pytest

from jobs.ids import new_id
from jobs.origin import Origin
from jobs.spec import JobSpec
from jobs.states import Status
from storage.objects import ObjectStore
from tests.integration.workers.workshop import TENANT, Workshop, texts
from workers import targets

DAYS = ["2026-11-27", "2026-11-28"]
#: 2026-11-28, half past two.
NIGHT = 1795833000000


@pytest.fixture
def corpora(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A bucket of somebody else's; parts have three rows."""
    monkeypatch.setattr(targets, "_PAUSES", (0.01, 0.01))
    parted(shop, 3)
    made = shop.store.in_bucket(f"corpora-{secrets.token_hex(6)}")
    made.ensure_bucket()
    yield made
    for found in made.list(""):
        made.delete(found.name)
    made._client.remove_bucket(bucket_name=made.bucket)


def parted(shop: Workshop, rows: int) -> None:
    settings = shop.runtime.settings.model_copy(update={"output_part_rows": rows})
    shop.runtime = replace(shop.runtime, settings=settings)


def submit(
    shop: Workshop,
    corpora: ObjectStore,
    rows: list[str | None],
    *,
    date: str | None = DAYS[1],
    at: int = NIGHT,
    **more: Any,
) -> str:
    """Take a job in, as a schedule's firing does unless it has no date."""
    body = {
        "kind": "echo",
        "input": {"items": [{} if text is None else {"text": text} for text in rows]},
        "output": {"uri": f"s3://{corpora.bucket}/labelled/", "format": "parquet"},
        "max_errors": 100,
        **more,
    }
    origin = None
    if date is not None:
        origin = Origin(schedule=new_id("schedule"), run=f"{at}", date=date)
    spec = JobSpec.model_validate_json(orjson.dumps(body))
    return shop.submissions.submit(TENANT, spec, None, origin=origin)[0].id


def names(store: ObjectStore, prefix: str = "labelled/") -> list[str]:
    return [found.name.removeprefix(prefix) for found in store.list(prefix)]


def told(store: ObjectStore, name: str) -> dict[str, Any]:
    found = store.get_json(f"labelled/{name}")
    assert isinstance(found, dict)
    return found


def fetched(store: ObjectStore, folder: Path) -> Path:
    """All that lies under the URI, as files."""
    for name in names(store):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(f"labelled/{name}"))
    return folder


def asked(query: str) -> list[Any]:
    found = duckdb.sql(query)
    assert found is not None
    return found.fetchall()


def test_duckdb_and_pandas_read_all_nights(
    shop: Workshop, corpora: ObjectStore, tmp_path: Path
) -> None:
    nights: dict[str, list[str | None]] = {DAYS[0]: [*texts(7), None], DAYS[1]: [None, None]}
    jobs = []
    for number, (date, rows) in enumerate(nights.items()):
        jobs.append(submit(shop, corpora, rows, date=date, at=NIGHT + number))
        shop.run(jobs[-1])
        assert shop.record(jobs[-1]).warnings == []
    first = f"date={DAYS[0]}/"
    parts = [f"part-{number:05d}-{jobs[0]}.parquet" for number in range(3)]
    assert sorted(names(corpora, f"labelled/{first}")) == sorted(
        [*parts, "_SUCCESS", f"_errors-{jobs[0]}.jsonl", "_writer.json"]
    )
    success = told(corpora, f"{first}_SUCCESS")
    assert [(one["name"], one["rows"]) for one in success["parts"]] == list(
        zip(parts, (3, 3, 1), strict=True)
    )
    for one in (*success["parts"], success["errors"]):
        assert corpora.stat(f"labelled/{first}{one['name']}").size == one["bytes"]
    assert (success["rows"], success["errors"]["rows"]) == (7, 1)
    latest = told(corpora, "_latest.json")
    assert (latest["date"], latest["job"], latest["rows"]) == (DAYS[1], jobs[1], 0)
    assert latest["folder"] == f"s3://{corpora.bucket}/labelled/date={DAYS[1]}/"
    assert [one["name"] for one in latest["parts"]] == [f"part-00000-{jobs[1]}.parquet"]

    root = fetched(corpora, tmp_path)
    glob = f"{root}/date=*/part-*.parquet"
    source = f"read_parquet('{glob}', hive_partitioning=true)"
    types = dict(asked(f"select column_name, column_type from (describe from {source})"))
    assert types == {
        "index": "BIGINT",
        "custom_id": "VARCHAR",
        "text": "VARCHAR",
        "output": "VARCHAR",
        "input_tokens": "BIGINT",
        "output_tokens": "BIGINT",
        "date": "DATE",
    }
    found = asked(f"select \"index\", text from {source} where date = '{DAYS[0]}' order by 1")
    assert found == [(number, f"text {number}") for number in range(7)]

    frame = pd.read_parquet(root)
    assert sorted(frame["text"]) == [f"text {number}" for number in range(7)]
    assert set(frame["date"]) == {DAYS[0]}
    empty = pd.read_parquet(root / f"date={DAYS[1]}")
    assert list(empty.columns) == [one for one in types if one != "date"]
    settings = shop.runtime.settings
    server = pa_fs.S3FileSystem(
        endpoint_override=settings.s3_host[0],
        scheme="https" if settings.s3_host[1] else "http",
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
    )
    pd.testing.assert_frame_equal(
        pd.read_parquet(f"{corpora.bucket}/labelled/", filesystem=server), frame
    )


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_other_formats_are_cut_as_well(shop: Workshop, corpora: ObjectStore, format_: str) -> None:
    uri = f"s3://{corpora.bucket}/labelled/"
    job = submit(shop, corpora, texts(4), output={"uri": uri, "format": format_})
    shop.run(job)
    folder = f"labelled/date={DAYS[1]}/"
    parts = [corpora.get(f"{folder}part-{number:05d}-{job}.{format_}") for number in range(2)]
    heads = 1 if format_ == "csv" else 0
    assert [len(part.splitlines()) - heads for part in parts] == [3, 1]
    nothing = submit(shop, corpora, [None], at=NIGHT + 1, output={"uri": uri, "format": format_})
    shop.run(nothing)
    assert len(corpora.get(f"{folder}part-00000-{nothing}.{format_}").splitlines()) == heads
    (part,) = told(corpora, "_latest.json")["parts"]
    assert part["rows"] == 0


def test_a_plain_job_may_ask_for_its_day_and_a_schedules_job_for_a_folder(
    shop: Workshop, corpora: ObjectStore
) -> None:
    uri = f"s3://{corpora.bucket}/labelled/"
    plain = submit(shop, corpora, texts(1), date=None, output={"uri": uri, "layout": "date"})
    own = submit(shop, corpora, texts(1), output={"uri": uri, "layout": "job"})
    neither = submit(shop, corpora, texts(1), date=None)
    for job in (plain, own, neither):
        shop.run(job)
    day = shop.store.get_json(shop.names(plain).spec)
    assert isinstance(day, dict)
    date = pd.Timestamp(day["created_at"], unit="ms").date().isoformat()
    assert f"date={date}/part-00000-{plain}.jsonl" in names(corpora)
    assert f"{own}/results.jsonl" in names(corpora)
    assert f"{neither}/results.parquet" in names(corpora)
    shown = [shop.record(job).public()["output"]["layout"] for job in (plain, own, neither)]
    assert shown == ["date", "job", "job"]


def test_a_day_is_written_again_by_a_retry_and_by_a_newer_run_but_not_by_an_older(
    shop: Workshop, corpora: ObjectStore
) -> None:
    folder = f"date={DAYS[1]}/"
    rows = [*texts(3), "bad"]
    first = submit(shop, corpora, rows, params={"fail_on": "bad"})
    shop.run(first)
    shop.submissions.retry(TENANT, first)
    shop.run(first)
    assert told(corpora, f"{folder}_SUCCESS")["generation"] == 2
    assert f"{folder}part-00000-{first}-2.parquet" in names(corpora)
    assert f"{folder}part-00000-{first}.parquet" not in names(corpora)
    newer = submit(shop, corpora, texts(2), at=NIGHT + 1)
    shop.run(newer)
    shop.submissions.retry(TENANT, first)
    shop.run(first)
    (warning,) = shop.record(first).warnings
    assert (warning["code"], newer in warning["message"]) == ("output_superseded", True)
    assert told(corpora, f"{folder}_SUCCESS") == told(corpora, "_latest.json")
    assert [name for name in names(corpora) if "part-" in name] == [
        f"{folder}part-00000-{newer}.parquet"
    ]


def test_what_is_not_whole_is_not_among_the_days(shop: Workshop, corpora: ObjectStore) -> None:
    whole = submit(shop, corpora, texts(3))
    shop.run(whole)
    before = {name: corpora.stat(f"labelled/{name}").etag for name in names(corpora)}
    cancelled = submit(shop, corpora, texts(20), at=NIGHT + 1)
    shop.plan(cancelled)
    shop.lease(cancelled)
    shop.work()
    shop.submissions.cancel(TENANT, cancelled)
    shop.finalize(cancelled)
    failed = submit(shop, corpora, [None], at=NIGHT + 2, max_errors=0)
    shop.run(failed)
    ends = [shop.record(job).status for job in (cancelled, failed)]
    assert ends == [Status.CANCELLED, Status.FAILED]
    assert {name: corpora.stat(f"labelled/{name}").etag for name in names(corpora)} == before


def test_a_finalizer_dies_in_the_middle_and_the_next_cuts_as_it_did(
    shop: Workshop, corpora: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    complete_upload = ObjectStore.complete_upload

    def dies(self: ObjectStore, name: str, *rest: Any) -> None:
        if "part-00001" in name:
            raise Killed
        complete_upload(self, name, *rest)

    job = submit(shop, corpora, texts(7))
    shop.plan(job)
    shop.work()
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "complete_upload", dies)
        with pytest.raises(Killed):
            shop.finalize(job)
    folder = f"date={DAYS[1]}/"
    assert names(corpora) == [f"{folder}_writer.json", f"{folder}part-00000-{job}.parquet"]
    parted(shop, 5)
    shop.give_up_roles(job)
    shop.finalize(job)
    assert [one["rows"] for one in told(corpora, "_latest.json")["parts"]] == [3, 3, 1]
    assert shop.record(job).warnings == []


def test_a_bucket_that_is_not_there_costs_a_warning(shop: Workshop, corpora: ObjectStore) -> None:
    uri = f"s3://nobodys-{secrets.token_hex(6)}/a/"
    job = submit(shop, corpora, texts(1), output={"uri": uri})
    shop.run(job)
    record = shop.record(job)
    assert record.status is Status.COMPLETED
    assert "there is no such bucket" in record.warnings[0]["message"]


def test_what_somebody_else_keeps_there_costs_a_warning(
    shop: Workshop, corpora: ObjectStore
) -> None:
    corpora.put("labelled/_latest.json", b"mine")
    job = submit(shop, corpora, texts(1))
    shop.run(job)
    (warning,) = shop.record(job).warnings
    assert warning["code"] == "output_not_written"
    assert "_latest.json is not one of Textmill's" in warning["message"]
    assert names(corpora) == ["_latest.json"]
