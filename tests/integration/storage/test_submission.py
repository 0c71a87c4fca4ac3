"""Submitting: what is in the store and the ledger after it, whatever happened in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from jobs.errors import Conflict, NotFound, Unavailable
from jobs.ids import is_id, new_token
from jobs.names import JobNames
from jobs.ranges import RowRange
from jobs.settings import Settings
from jobs.spec import JobSpec
from jobs.states import Lane, Priority, Status
from storage.broker import Broker, control_queue, make_celery
from storage.installation import Installation
from storage.ledger import Ledger
from storage.ledger.scripts import LedgerClient
from storage.objects import ObjectStore
from storage.set_up import set_up
from storage.submission import Submissions, SubmittedJob

TENANT = "default"

#: Where control workers are asked to plan and finalize a job of few inline rows.
QUEUE = control_queue(Lane.QUICK)


def spec(**more: object) -> JobSpec:
    body = {"kind": "classify", "input": {"items": [{"text": "Grüße", "n": 1}]}, **more}
    return JobSpec.model_validate(body)


@pytest.fixture
def installation(store: ObjectStore, ledger: Ledger) -> Installation:
    return set_up(store, ledger)


@pytest.fixture
def submissions(
    store: ObjectStore, ledger: Ledger, broker: Broker, installation: Installation
) -> Submissions:
    return Submissions(store, ledger, broker, installation)


@pytest.fixture
def messages(settings: Settings) -> Iterator[redis.Redis]:
    """The broker's Redis."""
    with redis.Redis.from_url(settings.celery_broker_url) as client:
        yield client


def job_objects(store: ObjectStore) -> list[str]:
    return [info.name for info in store.list("tenants/")]


def test_a_job_is_an_object_then_a_record_then_a_message(
    submissions: Submissions, store: ObjectStore, messages: redis.Redis
) -> None:
    asked = spec(name="nightly", priority="high", max_errors="1%", metadata={"team": "x"})
    record, new = submissions.submit(TENANT, asked, {"ref": "pkg:weights"})
    assert new
    assert is_id(record.id, "job")
    assert (record.status, record.kind, record.name) == (Status.VALIDATING, "classify", "nightly")
    assert (record.priority, record.metadata) == (Priority.HIGH, {"team": "x"})
    assert job_objects(store) == [JobNames(TENANT, record.id).spec]
    job = submissions.load(TENANT, record.id)
    assert (job.spec, job.model, job.tenant) == (asked, {"ref": "pkg:weights"}, TENANT)
    assert SubmittedJob.from_json(job.to_json()) == job
    assert messages.llen(QUEUE) == 1


def test_without_a_key_every_submission_is_a_job(submissions: Submissions) -> None:
    first, _ = submissions.submit(TENANT, spec(), None)
    second, new = submissions.submit(TENANT, spec(), None)
    assert new
    assert first.id != second.id


def test_the_same_key_and_body_give_the_same_job(
    submissions: Submissions, store: ObjectStore, messages: redis.Redis
) -> None:
    first, new = submissions.submit(TENANT, spec(), {"ref": "registry:m@1"}, "k1")
    again, new_again = submissions.submit(TENANT, spec(), {"ref": "registry:m@2"}, "k1")
    assert (new, new_again) == (True, False)
    assert again.id == first.id
    assert again.model == {"ref": "registry:m@1"}  # as resolved at first
    assert len(job_objects(store)) == 1
    assert messages.llen(QUEUE) == 1


def test_the_same_key_with_another_body_is_a_conflict(
    submissions: Submissions, store: ObjectStore
) -> None:
    first, _ = submissions.submit(TENANT, spec(), None, "k1")
    before = store.get(JobNames(TENANT, first.id).spec)
    for other in (spec(name="other"), spec(params={"top_k": 2}), spec(priority="low")):
        with pytest.raises(Conflict, match="Idempotency-Key"):
            submissions.submit(TENANT, other, None, "k1")
    assert store.get(JobNames(TENANT, first.id).spec) == before


def test_keys_of_two_tenants_do_not_meet(submissions: Submissions) -> None:
    first, _ = submissions.submit("one", spec(), None, "k1")
    second, new = submissions.submit("two", spec(name="other"), None, "k1")
    assert new
    assert first.id != second.id


def test_a_key_outlives_the_ledger(
    submissions: Submissions, store: ObjectStore, ledger: Ledger
) -> None:
    first, _ = submissions.submit(TENANT, spec(), None, "k1")
    ledger.client.redis.flushall()
    set_up(store, ledger)
    again, new = submissions.submit(TENANT, spec(), None, "k1")
    assert (again.id, new) == (first.id, False)
    with pytest.raises(Conflict):
        submissions.submit(TENANT, spec(name="other"), None, "k1")
    assert len(job_objects(store)) == 1


def test_a_submission_that_died_half_way_is_finished_by_the_next(
    submissions: Submissions, store: ObjectStore, ledger: Ledger, messages: redis.Redis
) -> None:
    first, _ = submissions.submit(TENANT, spec(), None, "k1")
    ledger.client.redis.delete(f"job:{first.id}")  # as if killed between both writes
    messages.delete(QUEUE)
    again, new = submissions.submit(TENANT, spec(), None, "k1")
    assert (again.id, new) == (first.id, False)
    assert messages.llen(QUEUE) == 1


def test_nothing_is_written_where_the_ledger_is_not_whole(
    submissions: Submissions, store: ObjectStore, ledger: Ledger, messages: redis.Redis
) -> None:
    ledger.client.redis.delete("ledger:epoch")
    with pytest.raises(Unavailable):
        submissions.submit(TENANT, spec(), None, "k1")
    assert job_objects(store) == []
    assert messages.llen(QUEUE) == 0


def test_nothing_is_written_where_the_ledger_is_down(
    store: ObjectStore, broker: Broker, installation: Installation
) -> None:
    dead = LedgerClient.connect(
        Settings.from_environment({"TEXTMILL_REDIS_URL": "redis://127.0.0.1:1/0"})
    )
    with pytest.raises(Unavailable):
        Submissions(store, Ledger(dead, 1000), broker, installation).submit(TENANT, spec(), None)
    assert job_objects(store) == []


def test_no_job_is_known_where_the_store_is_down(
    ledger: Ledger, broker: Broker, installation: Installation
) -> None:
    dead = Settings.from_environment({"TEXTMILL_S3_ENDPOINT": "http://127.0.0.1:1"})
    with pytest.raises(Unavailable):
        Submissions(ObjectStore.connect(dead), ledger, broker, installation).submit(
            TENANT, spec(), None, "k1"
        )
    assert ledger.jobs.active() == set()


def test_a_message_that_cannot_be_sent_loses_no_job(
    store: ObjectStore, ledger: Ledger, installation: Installation, settings: Settings
) -> None:
    environment = {"TEXTMILL_BROKER_URL": "redis://127.0.0.1:1/1"}
    app = make_celery(Settings.from_environment(environment))
    record, new = Submissions(store, ledger, Broker(app), installation).submit(TENANT, spec(), None)
    app.close()
    assert new
    assert ledger.jobs.active() == {record.id}


# --- cancelling ----------------------------------------------------------------------------------


def test_a_cancel_is_an_object_then_a_decision(
    submissions: Submissions, store: ObjectStore, messages: redis.Redis
) -> None:
    record, _ = submissions.submit(TENANT, spec(), None)
    messages.delete(QUEUE)
    cancelled = submissions.cancel(TENANT, record.id)
    assert cancelled.status is Status.CANCELLING
    assert store.exists(JobNames(TENANT, record.id).cancel)
    assert messages.llen(QUEUE) == 1
    assert submissions.cancel(TENANT, record.id).status is Status.CANCELLING


def test_a_cancel_during_finalizing_is_a_conflict(
    submissions: Submissions, store: ObjectStore, ledger: Ledger
) -> None:
    record, _ = submissions.submit(TENANT, spec(), None)
    token = new_token()
    ledger.ranges.plan_begin(record.id, token)
    ledger.ranges.add(record.id, token, RowRange(0, 1))
    ledger.jobs.fail(record.id, {"code": "x", "message": ""})
    with pytest.raises(Conflict):
        submissions.cancel(TENANT, record.id)
    assert not store.exists(JobNames(TENANT, record.id).cancel)


def test_only_the_tenants_own_jobs_can_be_cancelled(submissions: Submissions) -> None:
    record, _ = submissions.submit(TENANT, spec(), None)
    with pytest.raises(NotFound):
        submissions.cancel("other", record.id)
    assert submissions.cancel(TENANT, record.id).status is Status.CANCELLING
