"""Kombu's Redis transport, but whatever is sent to a queue is put there three times."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis

COPIES = 3

#: Key in the broker's database that counts what was sent.
SENT = "chaos:sent"


class Channel(redis.Channel):
    """Sends each message again and again. The copies are one task with one id, as in any redelivery by a broker."""

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        for _ in range(COPIES):
            # The broker's own mark of a delivery; one for all copies would let one acknowledgement end them all.
            properties = {**message["properties"], "delivery_tag": self._next_delivery_tag()}
            super()._put(queue, {**message, "properties": properties}, **options)
        with self.conn_or_acquire() as client:
            client.incr(SENT)


class Transport(redis.Transport):
    """Redis, thrice."""

    Channel = Channel
