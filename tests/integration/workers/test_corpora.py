"""Planning a corpus: broken objects and all, it gives the same shards whoever dies over it."""

from __future__ import annotations

import gzip

import pytest

from jobs.ranges import RowRange
from jobs.spec import JobSpec
from jobs.states import Status
from storage import plans
from storage.objects import ObjectStore
from storage.parts import shard_text
from tests.integration.workers.workshop import TENANT, Workshop
from workers.planner import _Planning

OBJECTS = {
    "a.txt": b"".join(b"line %d\n" % n for n in range(12)),
    "b.csv": b"id,body\n1,no text\n",
    "c/page.html": b"<title>T</title><nav>menu</nav><p>page",
    "c/damaged.txt.gz": gzip.compress(b"x\n" * 99, mtime=0)[:-9],
    "d.bin": b"no format",
    "_SUCCESS": b"",
    "e.jsonl": b"".join(b'{"text": "row %d"}\n' % n for n in range(9)) + b"bad\n",
}


@pytest.fixture
def corpus(shop: Workshop) -> ObjectStore:
    """Objects in a bucket of their own."""
    bucket = shop.store.in_bucket(f"{shop.store.bucket}-in")
    bucket.ensure_bucket()
    for name, data in OBJECTS.items():
        bucket.put(f"in/{name}", data)
    return bucket


def submit(shop: Workshop, corpus: ObjectStore) -> str:
    body = {"kind": "echo", "input": {"uri": f"s3://{corpus.bucket}/in/"}}
    return shop.submissions.submit(TENANT, JobSpec.model_validate(body), None)[0].id


def shards(shop: Workshop, job_id: str) -> dict[str, bytes]:
    folder = shop.names(job_id).shards
    names = [info.name for info in shop.store.list(folder)]
    return {name.removeprefix(folder): shard_text(shop.store.get(name)) for name in names}


@pytest.mark.parametrize("deaths", [[1], [2, 4], [5, 1, 3]])
@pytest.mark.parametrize("inline", [1_000, 2])
def test_planners_that_die_leave_no_trace(
    shop: Workshop,
    corpus: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    deaths: list[int],
    inline: int,
) -> None:
    monkeypatch.setattr(plans, "MOST_INLINE", inline)
    whole, broken = submit(shop, corpus), submit(shop, corpus)
    shop.plan(whole)
    add = _Planning._add
    for death in deaths:
        left = death

        def dies(planning: _Planning, rows: RowRange) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise SystemExit
            add(planning, rows)

        with monkeypatch.context() as dying:
            dying.setattr(_Planning, "_add", dies)
            with pytest.raises(SystemExit):
                shop.plan(broken)
        shop.give_up_roles(broken)
    shop.plan(broken)
    assert shards(shop, broken) == shards(shop, whole)
    assert len(shards(shop, whole)) >= 5
    shop.work()
    for job in (whole, broken):
        shop.finalize(job)
        status, results, errors = shop.outcome(job)
        assert status is Status.COMPLETED
        assert list(results.values())[11:14] == ["line 11", "T\n\npage", "row 0"]
        assert list(errors.values()) == ["missing_text_field", "input_corrupt", "invalid_json"]
        (warning,) = shop.record(job).warnings
        assert (warning["code"], warning["count"]) == ("skipped_objects", 1)


def test_an_object_that_changes_between_two_planners_fails_the_job(
    shop: Workshop, corpus: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first has given work out from the object as it was: rows of another would be mixed with its."""
    job = submit(shop, corpus)

    def dies(_planning: _Planning, _rows: RowRange) -> None:
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(_Planning, "_add", dies)
        with pytest.raises(SystemExit):
            shop.plan(job)
    shop.give_up_roles(job)
    corpus.put("in/a.txt", b"another\n" * 12)
    shop.plan(job)
    shop.work()
    shop.finalize(job)
    record = shop.record(job)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert record.error["code"] == "input_changed"
