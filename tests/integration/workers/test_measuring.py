"""Results are measured once they are written: the same numbers, whoever died on the way and however often."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest

from jobs.ids import new_token
from jobs.rows import RowFailure
from jobs.spec import JobSpec
from jobs.states import Status
from storage.restore import restore_job
from storage.submission import read_manifest
from tests.integration.workers.workshop import TENANT, Workshop
from tests.plugins.echo_kind import Echo, SameTexts

#: Every third row's gold answer is another one.
ROWS = [{"text": f"text {n}", "gold": f"text {n}" if n % 3 else "other"} for n in range(8)]


def submit(shop: Workshop, rows: list[dict[str, str]] = ROWS, **params: Any) -> str:
    spec = {"kind": "echo", "input": {"items": rows}, "params": {"evaluate": True, **params}}
    return shop.submissions.submit(TENANT, JobSpec.model_validate(spec), None)[0].id


def measured(shop: Workshop, job: str) -> dict[str, Any]:
    """The whole evaluation, as the manifest names it."""
    manifest = read_manifest(shop.store, shop.names(job))
    data = shop.store.get(manifest["outputs"]["evaluation"]["object"])
    assert data == shop.store.get(shop.names(job).evaluation)
    return cast("dict[str, Any]", orjson.loads(data))


def shown(rows: list[int], same: int) -> dict[str, Any]:
    """What the job says of these rows."""
    return {"rows": len(rows), "metrics": {"same": same / len(rows)}, "groups": {"by": "same"}}


def test_results_are_measured_and_the_job_says_so(shop: Workshop) -> None:
    job = submit(shop)
    shop.run(job)
    record = shop.record(job)
    assert record.status is Status.COMPLETED
    assert record.evaluation == shown(list(range(8)), 5)
    assert measured(shop, job)["details"] == {"groups": {"by": "same", "groups": list(range(8))}}
    assert record.public()["links"]["evaluation"] == f"/v1/jobs/{job}/evaluation"
    # Gold answers are read, not carried along: the results are those of any job.
    assert "fields" not in shop.lines(job, "results")[0]


def test_who_did_not_ask_gets_none(shop: Workshop) -> None:
    job = submit(shop, evaluate=False)
    shop.run(job)
    assert shop.record(job).evaluation is None
    assert "evaluation" not in read_manifest(shop.store, shop.names(job))["outputs"]
    assert "evaluation" not in shop.record(job).public()["links"]


def test_of_many_results_an_even_choice_is_measured(shop: Workshop) -> None:
    job = submit(shop, [{"text": f"text {n}", "gold": f"text {n}"} for n in range(20)])
    shop.run(job)
    evaluation = measured(shop, job)
    assert evaluation["one_in"] == 3
    assert evaluation["details"]["groups"]["groups"] == list(range(0, 20, 3))


def test_a_finalizer_that_dies_measuring_is_followed_by_one_that_starts_over(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(_: object) -> dict[str, Any]:
        raise Killed

    job = submit(shop)
    shop.plan(job)
    shop.work()
    with monkeypatch.context() as patch:
        patch.setattr(SameTexts, "evaluation", kill)
        with pytest.raises(Killed):
            shop.finalize(job)
    shop.give_up_roles(job)
    shop.finalize(job)
    assert shop.record(job).evaluation == shown(list(range(8)), 5)


def test_ranges_that_are_computed_twice_are_measured_once(shop: Workshop) -> None:
    job = submit(shop)
    shop.plan(job)
    shop.work()
    shop.store.delete(shop.parts(job)[0])
    shop.finalize(job)  # finds that it is gone: the range is computed again
    shop.work()
    shop.finalize(job)
    assert shop.record(job).evaluation == shown(list(range(8)), 5)


def test_a_retry_measures_all_results_anew(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit(shop)
    with monkeypatch.context() as patch:
        refused = RowFailure("refused", "not now")
        outcome = Echo._outcome
        patch.setattr(
            Echo,
            "_outcome",
            lambda self, row, params: refused if row.index < 4 else outcome(self, row, params),
        )
        shop.run(job)
    assert shop.record(job).evaluation == shown([4, 5, 6, 7], 3)
    shop.submissions.retry(TENANT, job)
    assert shop.record(job).evaluation is None  # it spoke of other results
    shop.run(job)
    assert shop.record(job).evaluation == shown(list(range(8)), 5)
    assert measured(shop, job)["details"]["groups"]["groups"] == list(range(8))


def test_a_job_that_did_not_run_to_its_end_is_not_measured(shop: Workshop) -> None:
    job = submit(shop)
    shop.plan(job)
    rows, zombie = shop.lease(job)
    shop.work()
    shop.submissions.cancel(TENANT, job)
    shop.ledger.ranges.release(job, rows, zombie)
    shop.finalize(job)
    assert shop.record(job).completed
    assert (shop.record(job).status, shop.record(job).evaluation) == (Status.CANCELLED, None)


def test_rows_that_are_lost_cost_the_evaluation_not_the_results(shop: Workshop) -> None:
    job = submit(shop)
    shop.plan(job)
    shop.work()
    for found in list(shop.store.list(shop.names(job).shards)):
        shop.store.delete(found.name)
    shop.finalize(job)
    record = shop.record(job)
    assert (record.status, record.completed) == (Status.COMPLETED, 8)
    assert record.evaluation is not None
    assert "rows" in record.evaluation["problem"]


def test_a_lost_ledger_is_told_again(shop: Workshop) -> None:
    job = submit(shop)
    shop.run(job)
    before = shop.record(job)
    shop.ledger.client.redis.delete(f"job:{job}")
    assert restore_job(shop.store, shop.ledger, TENANT, job, new_token()) is Status.COMPLETED
    assert shop.record(job).evaluation == before.evaluation is not None
