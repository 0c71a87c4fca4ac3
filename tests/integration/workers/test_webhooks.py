"""From the end of a job to a receiver that has heard of it, whatever dies or is lost on the way."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import orjson
import pytest
from standardwebhooks import Webhook

from jobs.errors import Conflict, NotFound
from jobs.names import TenantNames
from jobs.spec import JobSpec
from jobs.states import Status
from scheduler.webhooks import Deliverer
from storage.intents import Act, Intent, IntentIndex
from storage.rebuild import rebuild
from storage.replay import Replay
from storage.submission import Removed
from storage.webhooks import KEPT_ATTEMPTS, Delivery, DeliveryStatus, DeliveryTable, Resending
from tests.integration.workers.workshop import TENANT, Workshop
from tests.receivers import Heard, Receiver
from workers.finalizer import finalize_job

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

#: Generous: a busy machine may take long.
SECONDS = 30.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def submit(shop: Workshop, url: str, rows: int = 3, **more: Any) -> str:
    body = {
        "kind": "echo",
        "input": {"items": [{"text": f"text {number}"} for number in range(rows)]},
        "webhook": {"url": url, "secret": SECRET},
        **more,
    }
    spec = JobSpec.model_validate_json(orjson.dumps(body))
    return shop.submissions.submit(TENANT, spec, None)[0].id


def deliverer(shop: Workshop, **settings: Any) -> Deliverer:
    own = {
        "webhook_allow_http": True,
        "webhook_allowed_networks": ("127.0.0.1/32",),
        "webhook_retry_seconds": 0.05,
        "webhook_timeout_seconds": 2.0,
        "webhook_threads": 4,
        **settings,
    }
    return Deliverer(shop.store, shop.ledger, shop.runtime.settings.model_copy(update=own))


def once(shop: Workshop, made: Deliverer | None = None) -> bool:
    """One attempt at what is due; whether anything was."""
    made = made or deliverer(shop)
    claimed = time.monotonic()
    due = made.claim()
    if due is not None:
        made.deliver(due, claimed)
    return due is not None


def until(reached: Callable[[], object]) -> None:
    give_up = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def delivery(shop: Workshop, job: str, end: str = "1:completed") -> Delivery:
    return DeliveryTable(shop.store).get(TENANT, f"{job}:{end}")


def attempts(shop: Workshop, job: str) -> list[int | str | None]:
    return [one.status or one.error for one in delivery(shop, job).attempts]


def verified(heard: Heard) -> dict[str, Any]:
    found = Webhook(SECRET).verify(heard.body, heard.headers)
    assert isinstance(found, dict)
    return found


# --- ends ------------------------------------------------------------------------------------------------


def test_a_job_that_completes_is_told_once(shop: Workshop, receiver: Receiver) -> None:
    job = submit(shop, receiver.url)
    shop.run(job)
    assert once(shop)
    assert not once(shop)
    (heard,) = receiver.heard
    told = verified(heard)
    assert heard.headers["webhook-id"] == f"{job}:1:completed"
    assert told["type"] == "job.completed"
    assert told["data"]["id"] == job
    assert told["data"]["status"] == "completed"
    assert told["data"]["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert told["timestamp"] == told["data"]["ended_at"]
    assert delivery(shop, job).status is DeliveryStatus.DELIVERED
    assert attempts(shop, job) == [204]


@pytest.mark.parametrize("end", ["failed", "expired", "cancelled"])
def test_every_end_is_told(shop: Workshop, receiver: Receiver, end: str) -> None:
    job = submit(shop, receiver.url, completion_window="1h")
    shop.plan(job)
    match end:
        case "failed":
            shop.ledger.jobs.fail(job, {"code": "kind_broken", "message": "as asked"})
        case "expired":
            shop.expire(job)
        case "cancelled":
            shop.submissions.cancel(TENANT, job)
    assert not once(shop), "it has not ended yet"
    shop.finalize(job)
    assert once(shop)
    told = verified(receiver.heard[0])
    assert (told["type"], told["data"]["status"]) == (f"job.{end}", end)
    assert receiver.heard[0].headers["webhook-id"] == f"{job}:1:{end}"


def test_each_generation_is_told(shop: Workshop, receiver: Receiver) -> None:
    job = submit(shop, receiver.url)
    shop.plan(job)
    shop.submissions.cancel(TENANT, job)
    shop.finalize(job)
    assert once(shop)
    shop.submissions.retry(TENANT, job)
    shop.run(job)
    assert once(shop)
    ids = [heard.headers["webhook-id"] for heard in receiver.heard]
    assert ids == [f"{job}:1:cancelled", f"{job}:2:completed"]


def test_a_job_without_a_webhook_tells_nobody(shop: Workshop) -> None:
    job = shop.submit(["a"])
    shop.run(job)
    assert not once(shop)
    assert list(DeliveryTable(shop.store).of(TENANT, job)) == []


def test_the_secret_lies_in_job_json_alone(shop: Workshop, receiver: Receiver) -> None:
    job = submit(shop, receiver.url)
    shop.run(job)
    once(shop)
    holders = [
        found.name for found in shop.store.list("") if SECRET.encode() in shop.store.get(found.name)
    ]
    assert holders == [f"tenants/{TENANT}/jobs/{job}/job.json"]
    redis = shop.ledger.client.redis
    reads = {"hash": redis.hgetall, "string": redis.get}
    kinds = {str(key): str(redis.type(key)) for key in redis.scan_iter()}
    kept = [reads[kind](key) for key, kind in kinds.items() if kind in reads]
    assert job in str(kept)
    assert SECRET not in str(kept)
    assert receiver.url not in str(kept)
    assert SECRET not in str(shop.record(job).public())


# --- receivers -------------------------------------------------------------------------------------------


def test_a_receiver_that_is_down_for_a_while_gets_the_event_once_it_is_back(
    shop: Workshop, receiver: Receiver
) -> None:
    back = threading.Event()
    receiver.answer = lambda *_: (204 if back.is_set() else 500, {}, b"")
    job = submit(shop, receiver.url)
    shop.run(job)
    made = deliverer(shop)
    thread = threading.Thread(target=made.run)
    thread.start()
    until(lambda: len(receiver.heard) >= 3)
    back.set()
    until(lambda: delivery(shop, job).status is DeliveryStatus.DELIVERED)
    made.stop()
    thread.join()
    assert attempts(shop, job) == [500] * (len(receiver.heard) - 1) + [204]
    assert {heard.headers["webhook-id"] for heard in receiver.heard} == {f"{job}:1:completed"}
    assert len({heard.body for heard in receiver.heard}) == 1
    for heard in receiver.heard:
        verified(heard)
    assert shop.record(job).status is Status.COMPLETED


def test_pauses_double_up_to_the_longest(shop: Workshop, receiver: Receiver) -> None:
    receiver.answer = lambda *_: (500, {}, b"")
    job = submit(shop, receiver.url)
    shop.run(job)
    made = deliverer(shop, webhook_retry_seconds=100.0, webhook_retry_max_seconds=350.0)
    pauses = []
    for _ in range(4):
        assert once(shop, made)
        found = delivery(shop, job)
        assert found.next_attempt_at is not None
        pauses.append((found.next_attempt_at - found.attempts[-1].at) / 1000)
        make_due(shop)
    for pause, wanted in zip(pauses, (100, 200, 350, 350), strict=True):
        assert 0.8 * wanted <= pause <= 1.2 * wanted + 2


def waiting(shop: Workshop) -> list[str]:
    """Ids of the deliveries that the ledger has."""
    redis = shop.ledger.client.redis
    return cast("list[str]", redis.zrange(f"webhooks:{TENANT}", 0, -1))


def make_due(shop: Workshop) -> None:
    """As if the pauses had passed."""
    redis = shop.ledger.client.redis
    redis.zadd("webhooks", {TENANT: 1})
    for member in waiting(shop):
        redis.zadd(f"webhooks:{TENANT}", {member: 1})


def test_a_receiver_says_when_to_come_again(shop: Workshop, receiver: Receiver) -> None:
    receiver.answer = lambda *_: (503, {"Retry-After": "900"}, b"")
    job = submit(shop, receiver.url)
    shop.run(job)
    assert once(shop)
    found = delivery(shop, job)
    assert found.next_attempt_at is not None
    assert 900 <= (found.next_attempt_at - found.attempts[0].at) / 1000 < 905
    assert not once(shop)


def test_a_receiver_may_not_ask_for_more_time_than_there_is(
    shop: Workshop, receiver: Receiver
) -> None:
    receiver.answer = lambda *_: (429, {"Retry-After": "99999999"}, b"")
    job = submit(shop, receiver.url)
    shop.run(job)
    assert once(shop)
    found = delivery(shop, job)
    assert found.status is DeliveryStatus.PENDING
    assert found.next_attempt_at is not None
    assert found.next_attempt_at <= found.since + 86_400_000 + 2_000


def test_a_receiver_that_wants_no_more_gets_no_more(shop: Workshop, receiver: Receiver) -> None:
    receiver.answer = lambda *_: (410, {}, b"")
    job = submit(shop, receiver.url)
    shop.run(job)
    assert once(shop)
    make_due(shop)
    assert not once(shop)
    assert delivery(shop, job).status is DeliveryStatus.GONE


def test_after_a_day_a_delivery_has_failed_and_the_job_has_not(
    shop: Workshop, receiver: Receiver
) -> None:
    receiver.answer = lambda *_: (500, {}, b"")
    job = submit(shop, receiver.url)
    shop.run(job)
    made = deliverer(shop, webhook_give_up_seconds=0.5)
    until(
        lambda: delivery(shop, job).status is DeliveryStatus.FAILED or (once(shop, made) and False)
    )
    make_due(shop)
    assert not once(shop, made)
    assert delivery(shop, job).next_attempt_at is None
    assert shop.record(job).status is Status.COMPLETED


def test_a_target_that_became_an_inside_is_not_connected_to(
    shop: Workshop, receiver: Receiver
) -> None:
    job = submit(shop, receiver.url)
    shop.run(job)
    assert once(shop, deliverer(shop, webhook_allowed_networks=()))
    assert attempts(shop, job) == ["target_forbidden"]
    assert receiver.heard == []


def test_the_record_of_many_attempts_stays_short(shop: Workshop, receiver: Receiver) -> None:
    receiver.answer = lambda *_: (500, {}, b"")
    job = submit(shop, receiver.url)
    shop.run(job)
    for _ in range(KEPT_ATTEMPTS + 3):
        make_due(shop)
        assert once(shop)
    found = delivery(shop, job)
    assert (found.attempt_count, len(found.attempts)) == (KEPT_ATTEMPTS + 3, KEPT_ATTEMPTS)


# --- several at once, deaths, losses -----------------------------------------------------------------------


def test_two_schedulers_never_attempt_the_same_at_once(shop: Workshop, receiver: Receiver) -> None:
    at_work: dict[str, int] = {}
    worst: dict[str, int] = {}
    lock = threading.Lock()

    def answer(_receiver: Receiver, heard: Heard) -> tuple[int, dict[str, str], bytes]:
        name = heard.headers["webhook-id"]
        with lock:
            at_work[name] = at_work.get(name, 0) + 1
            worst[name] = max(worst.get(name, 0), at_work[name])
        time.sleep(0.05)
        with lock:
            at_work[name] -= 1
        return 204, {}, b""

    receiver.answer = answer
    ids = [submit(shop, receiver.url, rows=1) for _ in range(12)]
    for job in ids:
        shop.run(job)
    pair = [deliverer(shop), deliverer(shop)]
    threads = [threading.Thread(target=one.run) for one in pair]
    for thread in threads:
        thread.start()
    until(lambda: all(delivery(shop, job).status is DeliveryStatus.DELIVERED for job in ids))
    for one in pair:
        one.stop()
    for thread in threads:
        thread.join()
    assert len(receiver.heard) == len(ids), "each was told once"
    assert set(worst.values()) == {1}
    assert receiver.most_at_once > 1, "and others beside it"


def test_one_that_dies_in_the_middle_leaves_it_to_another(
    shop: Workshop, receiver: Receiver
) -> None:
    job = submit(shop, receiver.url)
    shop.run(job)
    made = deliverer(shop)
    assert made.claim() is not None  # and it dies
    assert not once(shop)
    make_due(shop)  # its lease has passed
    assert once(shop)
    assert attempts(shop, job) == [204]


def test_what_was_told_but_not_settled_is_not_told_again(
    shop: Workshop, receiver: Receiver
) -> None:
    """The last second of Redis is forgotten: the store knows better."""
    job = submit(shop, receiver.url)
    shop.run(job)
    before = waiting(shop)
    assert once(shop)
    for member in before:
        shop.ledger.webhooks.enter(TENANT, member)
    assert once(shop)
    assert len(receiver.heard) == 1
    assert not once(shop)


def test_a_lost_redis_loses_no_event(shop: Workshop, receiver: Receiver) -> None:
    told, pending, unheard = (submit(shop, receiver.url) for _ in range(3))
    shop.run(told)
    assert once(shop)
    receiver.answer = lambda *_: (500, {}, b"")
    shop.run(pending)
    assert once(shop, deliverer(shop, webhook_retry_seconds=3_000.0))
    receiver.answer = lambda *_: (204, {}, b"")
    shop.run(unheard)
    # Its finalizer died between the manifest and the record of the event.
    shop.store.delete(TenantNames(TENANT).delivery(f"{unheard}:1:completed"))
    shop.ledger.client.redis.flushall()
    rebuild(shop.store, shop.ledger, shop.installation.id)
    receiver.heard.clear()
    while once(shop):
        pass
    assert {verified(heard)["data"]["id"] for heard in receiver.heard} == {pending, unheard}
    assert shop.record(told).public()["links"]["deliveries"]
    assert attempts(shop, pending) == [500, 204]


def test_a_finalizer_that_dies_before_the_ledger_knows_tells_once(
    shop: Workshop, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> bool:
        raise Killed

    job = submit(shop, receiver.url)
    shop.plan(job)
    shop.work()
    with monkeypatch.context() as patch:
        patch.setattr(shop.ledger.jobs, "finish", kill)
        with pytest.raises(Killed):
            finalize_job(shop.runtime, job)
    assert delivery(shop, job).status is DeliveryStatus.PENDING, "in the store first"
    assert not once(shop), "but nobody is told of a job that has not ended"
    shop.give_up_roles(job)
    shop.finalize(job)
    shop.finalize(job)
    assert once(shop)
    assert not once(shop)
    assert len(receiver.heard) == 1


# --- again -------------------------------------------------------------------------------------------------


def test_an_event_is_told_again_on_request(shop: Workshop, receiver: Receiver) -> None:
    job = submit(shop, receiver.url)
    shop.run(job)
    assert once(shop)
    again = Resending(shop.store, shop.ledger).resend(TENANT, job, f"{job}:1:completed")
    assert again.status is DeliveryStatus.PENDING
    assert once(shop)
    assert len({(heard.headers["webhook-id"], heard.body) for heard in receiver.heard}) == 1
    assert attempts(shop, job) == [204, 204]


def test_a_request_that_redis_forgot_is_followed(shop: Workshop, receiver: Receiver) -> None:
    job = submit(shop, receiver.url)
    shop.run(job)
    assert once(shop)
    Resending(shop.store, shop.ledger).resend(TENANT, job, f"{job}:1:completed")
    redis = shop.ledger.client.redis
    redis.delete("webhooks", f"webhooks:{TENANT}")
    index, replay = IntentIndex(shop.store), Replay(shop.store, shop.ledger, shop.broker)

    def wanted() -> list[Intent]:
        return [intent for intent in index.since(0) if intent.act is Act.RESEND]

    assert len(wanted()) == 1
    assert replay.replay(iter(wanted())) == 1
    assert replay.replay(iter(wanted())) == 0
    assert once(shop)
    assert replay.replay(iter(wanted())) == 0, "it was told"
    assert len(receiver.heard) == 2


@pytest.mark.parametrize(
    "name", ["{job}:2:completed", "{job}", "", "../{job}:1:completed", "{job}:1:completed/"]
)
def test_nothing_else_is_told(shop: Workshop, receiver: Receiver, name: str) -> None:
    job, other = submit(shop, receiver.url), submit(shop, receiver.url)
    for one in (job, other):
        shop.run(one)
    resending = Resending(shop.store, shop.ledger)
    for wrong in (name.format(job=job), f"{other}:1:completed"):
        with pytest.raises(NotFound):
            resending.resend(TENANT, job, wrong)
    with pytest.raises(NotFound):
        resending.resend("others", job, f"{job}:1:completed")


def test_a_deleted_job_is_told_no_more(shop: Workshop, receiver: Receiver) -> None:
    job = submit(shop, receiver.url)
    shop.run(job)
    resending = Resending(shop.store, shop.ledger)
    with pytest.MonkeyPatch.context() as patch:
        nothing = Removed(objects=0, bytes=0)
        patch.setattr("storage.submission.remove_objects", lambda *_: nothing)  # it dies there
        shop.submissions.delete(TENANT, job)
    with pytest.raises(Conflict):
        resending.resend(TENANT, job, f"{job}:1:completed")
    assert once(shop)
    assert receiver.heard == []
    replay = Replay(shop.store, shop.ledger, shop.broker)
    replay.replay(IntentIndex(shop.store).since(0))
    assert list(shop.store.list(TenantNames(TENANT).deliveries(job))) == []
    assert not once(shop)
