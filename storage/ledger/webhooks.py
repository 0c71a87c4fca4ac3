"""Which deliveries of webhooks are to be attempted, and by whom: what they hold lies in the store."""

from __future__ import annotations

from dataclasses import dataclass

from storage.ledger.scripts import Argument, LedgerClient


@dataclass(frozen=True, kw_only=True)
class DueDelivery:
    """A delivery that was taken for one attempt."""

    tenant: str
    id: str
    token: str


class WebhookTable:
    """The deliveries that are not at their end.

    Args:
        client: the connection.
        now: the time in ms, for tests; Redis's own clock otherwise.
    """

    def __init__(self, client: LedgerClient, now: int | None = None) -> None:
        self._client = client
        self._now: Argument = "" if now is None else now

    def enter(
        self, tenant: str, delivery_id: str, *, hurry: bool = False, restorer: str = ""
    ) -> bool:
        """Have a delivery attempted; False when its time is known already, or an attempt is under way.

        Args:
            tenant: whose it is.
            delivery_id: its record lies in the store.
            hurry: now, although a later time is known.
            restorer: token of whoever builds the ledger.
        """
        asked = "1" if hurry else ""
        return bool(
            self._client.call("webhook_enter", restorer, tenant, delivery_id, asked, self._now)
        )

    def claim(self, token: str, *, lease_ms: int, most: int) -> DueDelivery | None:
        """Take a delivery that is due for one attempt; None when there is none.

        Args:
            token: names the attempt; asked again with it, the answer is the same.
            lease_ms: time after which it is due again, unless it was settled.
            most: attempts of one tenant at once, on all schedulers together.
        """
        found = self._client.call("webhook_claim", token, lease_ms, most, self._now)
        return DueDelivery(tenant=found[0], id=found[1], token=token) if found else None

    def settle(self, due: DueDelivery, pause_ms: int | None) -> bool:
        """End an attempt; False when its lease had ended.

        Args:
            due: what was claimed.
            pause_ms: time until the next attempt; None when there is to be none.
        """
        pause = "" if pause_ms is None else pause_ms
        return bool(
            self._client.call("webhook_settle", due.token, due.tenant, due.id, pause, self._now)
        )
