"""Live workers, invitations and measured speeds in the ledger."""

from __future__ import annotations

from typing import Any, cast

import orjson

from jobs.ids import new_token
from jobs.states import Priority
from storage.ledger.scripts import Argument, LedgerClient, ledger_faults

#: A worker not heard of for this long is gone, in ms.
PRESENCE_MS = 15_000

#: Life of an invitation, in ms: at first, and at most. It doubles each time that one lapses.
SLOT_MS, LONGEST_SLOT_MS = 2_000, 20_000

#: Weight of a new measurement in the average speed.
_SPEED_WEIGHT = 0.3


class WorkerTable:
    """Who works, who is invited, and how fast things went.

    Args:
        client: the connection.
        now: the time in ms, for tests; Redis's own clock otherwise.
    """

    def __init__(self, client: LedgerClient, now: int | None = None) -> None:
        self._client = client
        self._given_now: Argument = "" if now is None else now

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
        return _without_replaced([workers[name] for name in sorted(workers) if name not in gone])

    def _now(self) -> int:
        seconds, micros = self._client.redis.time()
        return seconds * 1000 + micros // 1000

    def count(self) -> int:
        """How many model workers live and can compute; at least 1, for plans made before the first came up."""
        return max(1, sum(map(_computes, self.live())))

    def idle(self) -> dict[str, int]:
        """How many model workers of each class (type of device) live and have nothing to do."""
        found: dict[str, int] = {}
        for worker in self.live():
            if _computes(worker) and not worker.get("busy"):
                name = str(worker["device_type"])
                found[name] = found.get(name, 0) + 1
        return found

    # --- invitations --------------------------------------------------------------------------------

    def invite(self, worker_class: str, idle: int) -> tuple[str, Priority] | None:
        """Take a slot for one more invitation of this class of workers, when one is wanted.

        Returns:
            The slot's name and the priority of what is to be done; or None.
        """
        slot = new_token()
        priority = self._client.call(
            "invite", worker_class, idle, SLOT_MS, LONGEST_SLOT_MS, slot, self._given_now
        )
        return (slot, Priority(priority)) if priority else None

    def accept(self, worker_class: str, slot: str) -> bool:
        """Use up an invitation; False for a duplicate or one that lapsed."""
        return bool(self._client.call("accept", worker_class, slot))

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


def _computes(worker: dict[str, Any]) -> bool:
    return worker.get("role") == "model" and not worker.get("fault")


def _without_replaced(workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are not dead for sure: a model worker's parent has one at a time, so only the one last heard of."""
    newest: dict[tuple[Any, Any], int] = {}
    for worker in workers:
        if "parent" in worker:
            key = (worker["host"], worker["parent"])
            newest[key] = max(newest.get(key, 0), worker["seen_at"])
    return [
        worker
        for worker in workers
        if "parent" not in worker or worker["seen_at"] == newest[worker["host"], worker["parent"]]
    ]
