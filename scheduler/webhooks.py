"""Delivers events: claims what is due, attempts it, and says when the next attempt is to be.

Any number of schedulers may do so. An attempt has a lease longer than it may take; a scheduler that dies leaves it to
lapse, and the event is told again under the same id. What came of an attempt is in the store before the ledger knows.
"""

from __future__ import annotations

import random
import threading
import time

import structlog

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.settings import Settings
from jobs.webhooks import WebhookSpec, parse_target, signed_headers
from scheduler.sending import Reply, Sender
from storage.ledger import DueDelivery, Ledger
from storage.objects import ObjectMissing, ObjectStore
from storage.webhooks import Attempt, Delivery, DeliveryStatus, DeliveryTable

log = structlog.get_logger(__name__)

#: Seconds between two looks at what is due while nothing is.
_IDLE_SECONDS = 0.5

#: Seconds that a scheduler which must stop waits for the attempts under way.
_STOP_SECONDS = 5.0

#: Answers with which a receiver may say when to come again.
_ASKS_FOR_TIME = (429, 503)

#: By how much pauses vary, so that what failed together does not come together again.
_JITTER = 0.2


class Deliverer:
    """Delivers again and again until it is stopped."""

    def __init__(
        self, store: ObjectStore, ledger: Ledger, settings: Settings, sender: Sender | None = None
    ) -> None:
        """Args:
        store: holds the deliveries.
        ledger: says which are due.
        settings: how often and how long.
        sender: makes the attempts; as the settings say where none is given.
        """
        self._ledger = ledger
        self._table = DeliveryTable(store)
        self._settings = settings
        self._sender = sender or Sender(
            seconds=settings.webhook_timeout_seconds,
            allow_http=settings.webhook_allow_http,
            allowed=settings.webhook_networks,
        )
        #: Nobody renews it: an attempt begins only while there is time for all of it.
        self._lease = 2 * settings.webhook_timeout_seconds + settings.lease_seconds
        self._room = threading.Semaphore(settings.webhook_threads)
        #: One tenant's dead receivers leave room for the others.
        self._most = max(1, settings.webhook_threads // 2)
        self._stopped = threading.Event()
        self._random = random.Random()  # noqa: S311  (spreads attempts, guards nothing)

    def run(self) -> None:
        """Deliver until :meth:`stop` is called. An outage is waited out."""
        while not self._stopped.is_set():
            if not self._room.acquire(timeout=_IDLE_SECONDS):
                continue
            due, claimed = None, time.monotonic()
            try:
                due = self.claim()
            except Unavailable as error:
                log.warning("deliveries wait", reason=error.detail)
            except Exception:
                # Whatever it is, the next look may go well; the sweeper beside this goes on too.
                log.exception("no delivery claimed")
            if due is None:
                self._room.release()
                self._stopped.wait(_IDLE_SECONDS)
            else:
                threading.Thread(
                    target=self._attempt, args=(due, claimed), name="webhook", daemon=True
                ).start()
        deadline = time.monotonic() + _STOP_SECONDS
        for _ in range(self._settings.webhook_threads):
            if not self._room.acquire(timeout=max(0.0, deadline - time.monotonic())):
                break

    def stop(self) -> None:
        """Make :meth:`run` return."""
        self._stopped.set()

    def claim(self) -> DueDelivery | None:
        """Take a delivery that is due.

        Raises:
            Unavailable: the ledger is away.
        """
        return self._ledger.webhooks.claim(
            new_token(), lease_ms=int(self._lease * 1000), most=self._most
        )

    def _attempt(self, due: DueDelivery, claimed: float) -> None:
        try:
            self.deliver(due, claimed)
        except Unavailable as error:
            # The lease lapses, and the event is told again.
            log.warning("delivery waits", delivery=due.id, reason=error.detail)
        except Exception:
            log.exception("delivery broke", delivery=due.id)
        finally:
            self._room.release()

    def deliver(self, due: DueDelivery, claimed: float) -> None:
        """Make one attempt at a delivery.

        Args:
            due: what was claimed.
            claimed: ``time.monotonic()`` from before it was.

        Raises:
            Unavailable: store or ledger are away, or too slow.
        """
        deadline = claimed + self._lease
        try:
            delivery = self._table.get(due.tenant, due.id)
        except ObjectMissing:
            delivery = None
        webhook = None if delivery is None else self._table.target(delivery)
        if delivery is None or webhook is None or delivery.status is not DeliveryStatus.PENDING:
            # Deleted, or told already: the ledger has forgotten it.
            self._ledger.webhooks.settle(due, None)
            return
        now = self._ledger.now()
        begun = time.monotonic()
        if begun + self._settings.webhook_timeout_seconds > deadline:
            raise Unavailable("no time is left for an attempt")
        reply = self._send(delivery, webhook)
        attempt = Attempt(
            at=now,
            seconds=round(time.monotonic() - begun, 3),
            status=reply.status,
            error=reply.error,
        )
        status, pause = self._verdict(delivery, reply, now)
        if time.monotonic() > deadline:
            # Somebody else may be at it, whose record is not to be overwritten.
            raise Unavailable("the attempt's lease has ended")
        next_at = None if pause is None else self._ledger.now() + pause
        self._table.save(delivery.after(attempt, status, next_at))
        self._ledger.webhooks.settle(due, pause)
        log.info(
            "delivery attempted",
            delivery=due.id,
            became=status.value,
            status=reply.status,
            error=reply.error,
        )

    def _send(self, delivery: Delivery, webhook: WebhookSpec) -> Reply:
        body = delivery.body
        headers = signed_headers(
            webhook.secret.get_secret_value(), delivery.id, int(time.time()), body
        )
        return self._sender.post(parse_target(webhook.url), body, headers)

    def _verdict(
        self, delivery: Delivery, reply: Reply, now: int
    ) -> tuple[DeliveryStatus, int | None]:
        """What an attempt makes of a delivery, and the pause before the next one in ms, if there is to be one."""
        if reply.status is not None and 200 <= reply.status < 300:
            return DeliveryStatus.DELIVERED, None
        if reply.status == 410:
            return DeliveryStatus.GONE, None
        left = delivery.since / 1000 + self._settings.webhook_give_up_seconds - now / 1000
        pause = self._pause(delivery.tries, reply, left)
        if pause > left:
            return DeliveryStatus.FAILED, None
        return DeliveryStatus.PENDING, int(pause * 1000)

    def _pause(self, tries: int, reply: Reply, left: float) -> float:
        """Seconds until the next attempt: twice as long after each, and as long as the receiver asks for."""
        longest = self._settings.webhook_retry_max_seconds
        pause = min(longest, self._settings.webhook_retry_seconds * 2.0 ** min(tries, 64))
        pause *= self._random.uniform(1 - _JITTER, 1 + _JITTER)
        if reply.status in _ASKS_FOR_TIME and reply.retry_after is not None:
            # One that asks for more than there is gets the last moment.
            pause = max(pause, min(reply.retry_after, left))
        return pause
