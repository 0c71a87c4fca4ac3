"""What a schedule's webhook is told arrives, whatever is lost on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson
import pytest
from standardwebhooks import Webhook

from jobs.errors import Conflict, NotFound
from jobs.ids import new_id
from jobs.names import TenantNames
from jobs.schedules import ScheduleSpec
from scheduler.webhooks import Deliverer
from storage.alerts import Alerts
from storage.intents import Act, IntentIndex
from storage.rebuild import rebuild
from storage.replay import Replay
from storage.schedules import Revision, ScheduleBook
from storage.webhooks import DeliveryStatus, DeliveryTable, Resending
from tests.integration.workers.workshop import TENANT, Workshop
from tests.receivers import Receiver

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
SINCE = 1_780_000_000_000


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def schedule(shop: Workshop, receiver: Receiver) -> Revision:
    body = {
        "every": 86_400,
        "job": {"kind": "echo", "input": {"items": [{"text": "a"}]}},
        "webhook": {"url": receiver.url, "secret": SECRET},
    }
    spec = ScheduleSpec.model_validate_json(orjson.dumps(body))
    return ScheduleBook(shop.store, shop.ledger).create(TENANT, spec)[0]


def late(shop: Workshop, schedule: Revision) -> str:
    """Have it told that it is late; the delivery's id."""
    Alerts(shop.store, shop.ledger).lateness(schedule, SINCE, shop.ledger.now())
    return f"{schedule.id}:late:{SINCE}"


def once(shop: Workshop) -> bool:
    """One attempt at what is due; whether anything was."""
    settings = shop.runtime.settings.model_copy(
        update={"webhook_allow_http": True, "webhook_allowed_networks": ("127.0.0.1/32",)}
    )
    made = Deliverer(shop.store, shop.ledger, settings)
    claimed = time.monotonic()
    due = made.claim()
    if due is not None:
        made.deliver(due, claimed)
    return due is not None


def forget(shop: Workshop) -> None:
    """Let the ledger lose what is due."""
    shop.ledger.client.redis.delete("webhooks", f"webhooks:{TENANT}")


def test_it_is_told_once(shop: Workshop, schedule: Revision, receiver: Receiver) -> None:
    delivery = late(shop, schedule)
    late(shop, schedule)
    assert once(shop)
    assert not once(shop)
    (heard,) = receiver.heard
    assert heard.headers["webhook-id"] == delivery
    assert Webhook(SECRET).verify(heard.body, heard.headers)["type"] == "schedule.late"
    late(shop, schedule)
    assert not once(shop), "it was told"
    assert DeliveryTable(shop.store).get(TENANT, delivery).status is DeliveryStatus.DELIVERED


def test_what_the_ledger_forgot_is_entered_again(
    shop: Workshop, schedule: Revision, receiver: Receiver
) -> None:
    late(shop, schedule)
    forget(shop)
    replay = Replay(shop.store, shop.ledger, shop.broker)
    wanted = [one for one in IntentIndex(shop.store).since(0) if one.act is Act.RESEND]
    assert replay.replay(iter(wanted)) == 1
    assert once(shop)
    assert len(receiver.heard) == 1


def test_when_the_whole_ledger_is_lost(
    shop: Workshop, schedule: Revision, receiver: Receiver
) -> None:
    late(shop, schedule)
    shop.ledger.client.redis.flushdb()
    rebuild(shop.store, shop.ledger, shop.installation.id)
    assert once(shop)
    assert [one.headers["webhook-id"] for one in receiver.heard] == [f"{schedule.id}:late:{SINCE}"]


def test_it_goes_where_the_schedule_says_by_then(
    shop: Workshop, schedule: Revision, receiver: Receiver
) -> None:
    book, delivery = ScheduleBook(shop.store, shop.ledger), late(shop, schedule)
    without = schedule.spec.model_copy(update={"webhook": None})
    book.revise(TENANT, schedule.id, 0, lambda _: without)
    assert once(shop)
    assert receiver.heard == []
    resending = Resending(shop.store, shop.ledger)
    with pytest.raises(Conflict):
        resending.resend(TENANT, schedule.id, delivery)
    book.revise(TENANT, schedule.id, 0, lambda _: schedule.spec)
    resending.resend(TENANT, schedule.id, delivery)
    assert once(shop)
    assert len(receiver.heard) == 1


def test_nothing_else_is_told(shop: Workshop, schedule: Revision) -> None:
    delivery = late(shop, schedule)
    resending = Resending(shop.store, shop.ledger)
    other = new_id("schedule")
    for subject, name in (
        (other, delivery),
        (schedule.id, f"{schedule.id}:late:1"),
        (schedule.id, f"{schedule.id}:late:../x"),
        (schedule.id, ""),
    ):
        with pytest.raises(NotFound):
            resending.resend(TENANT, subject, name)
    with pytest.raises(NotFound):
        resending.resend("other", schedule.id, delivery)


def test_a_schedule_that_is_deleted_tells_nothing_more(
    shop: Workshop, schedule: Revision, receiver: Receiver
) -> None:
    late(shop, schedule)
    ScheduleBook(shop.store, shop.ledger).delete(TENANT, schedule.id)
    assert once(shop)
    assert (receiver.heard, once(shop)) == ([], False)
    assert list(shop.store.list(TenantNames(TENANT).deliveries(schedule.id))) == []
