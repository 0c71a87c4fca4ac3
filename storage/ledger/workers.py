"""Live workers, invitations and measured speeds in the ledger."""

from __future__ import annotations

from typing import Any, cast

import orjson

from jobs.ids import new_token
from storage.ledger.scripts import LedgerClient, ledger_faults

#: A worker not heard of for this long is gone, in ms.
PRESENCE_MS = 15_000

#: An invitation that no worker took within this time lapses, in ms.
SLOT_MS = 15_000

#: Weight of a new measurement in the average speed.
_SPEED_WEIGHT = 0.3


class WorkerTable:
    """Who works, who is invited, and how fast things went."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client

    def announce(self, worker_id: str, facts: dict[str, Any]) -> None:
        """Say that a worker lives, and what it holds."""
        with ledger_faults():
            entry = {**facts, "seen_at": self._now()}
            self._client.redis.hset("workers", worker_id, orjson.dumps(entry))

    def leave(self, worker_id: str) -> None:
        """Say that a worker has stopped."""
        with ledger_faults():
            self._client.redis.hdel("workers", worker_id)

    def live(self) -> list[dict[str, Any]]:
        """What the live workers say of themselves, by id; ``seen_at`` is in ms."""
        with ledger_faults():
            now = self._now()
            said = cast("dict[str, str]", self._client.redis.hgetall("workers"))
            workers = {name: orjson.loads(text) for name, text in said.items()}
            gone = [name for name, facts in workers.items() if facts["seen_at"] < now - PRESENCE_MS]
            if gone:
                self._client.redis.hdel("workers", *gone)
        return [workers[name] for name in sorted(workers) if name not in gone]

    def _now(self) -> int:
        seconds, micros = self._client.redis.time()
        return seconds * 1000 + micros // 1000

    def count(self, role: str = "model") -> int:
        """How many workers of a role live; at least 1, for plans made before the first came up."""
        return max(1, sum(1 for worker in self.live() if worker.get("role") == role))

    # --- invitations --------------------------------------------------------------------------------

    def invite(self, workers: int) -> str | None:
        """Take a slot for one more invitation when one is wanted; its name, or None."""
        slot = new_token()
        return slot if self._client.call("invite", workers, SLOT_MS, "", slot) else None

    def accept(self, slot: str) -> bool:
        """Use up an invitation; False for a duplicate or one that lapsed."""
        with ledger_faults():
            return bool(self._client.redis.zrem("slots", slot))

    # --- speeds ---------------------------------------------------------------------------------

    def speed(self, kind: str, model_key: str, device: str) -> float | None:
        """Shard bytes a second that one device worked through, averaged over recent shards."""
        with ledger_faults():
            value = self._client.redis.hget("speeds", f"{kind}|{model_key}|{device}")
        return float(cast(str, value)) if value else None

    def slowest_speed(self, kind: str, model_key: str) -> float | None:
        """The speed on the slowest kind of device among the live workers that has one."""
        devices = {str(worker.get("device_type")) for worker in self.live()}
        speeds = [self.speed(kind, model_key, device) for device in devices]
        return min((speed for speed in speeds if speed is not None), default=None)

    def record_speed(self, kind: str, model_key: str, device: str, measured: float) -> None:
        """Average a new measurement in. Two at once may lose one, which does no harm."""
        known = self.speed(kind, model_key, device)
        speed = measured if known is None else known + _SPEED_WEIGHT * (measured - known)
        with ledger_faults():
            self._client.redis.hset("speeds", f"{kind}|{model_key}|{device}", repr(speed))
