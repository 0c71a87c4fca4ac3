"""Letting calls in: what is known of a key and of its tenant, in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from storage.grouped import GroupedReads
from storage.ledger.scripts import Argument, LedgerClient, ledger_faults

#: Seconds of calls that may come at once, at a tenant's rate.
BURST_SECONDS = 5

#: Shortest time between two notes that a key was used, in ms.
KEY_USED_MS = 60_000


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What the ledger knows of the key that came with a call."""

    now: int  #: ms
    key: str  #: its record as JSON; empty: there is no such key
    disabled: bool  #: whether its tenant is
    rate: float | None  #: such calls a second that its tenant may make; None: any number
    job: Mapping[
        str, str
    ]  #: fields of the job that was asked for; empty: the tenant has none of this id


class _Call(NamedTuple):
    """A call that is to be let in."""

    key_id: str
    limit: str
    job_id: str
    charge: tuple[str, float] | None
    #: Tells calls apart that are to be counted: each counts. Those that are not may share an answer.
    counted: object | None


class AdmissionTable:
    """Keys, tenants' rates and counts of calls.

    Args:
        client: the connection.
        now: the time in ms, for tests; Redis's own clock otherwise.
    """

    def __init__(self, client: LedgerClient, now: int | None = None) -> None:
        self._client = client
        self._now: Argument = "" if now is None else now
        # Most of what a look costs is the round trip: calls that come while one is under way share the next.
        self._looks: GroupedReads[_Call, Any] = GroupedReads(self._look_each, gather=True)

    def look(
        self, key_id: str, limit: str, job_id: str = "", *, charge: tuple[str, float] | None = None
    ) -> tuple[Looked, int | None]:
        """Look a key up; with ``charge``, also count the call against a tenant's rate, in the same round trip.

        Args:
            key_id: id of the key; empty: it was none that could be one.
            limit: the rate that such calls count against: ``read_rate`` or ``write_rate``.
            job_id: a job that is asked for.
            charge: tenant and rate, where both are known already.

        Returns:
            What is known, and as :meth:`charge` does; None without ``charge``, or where Redis takes no writes.

        Raises:
            Unavailable: the ledger cannot say.
        """
        counted = None if charge is None else object()
        said, charged = cast(
            "tuple[Any, Any]", self._looks.get(_Call(key_id, limit, job_id, charge, counted))
        )
        if isinstance(said, Exception):
            raise said
        # One that cannot be counted is let in: Redis takes no writes, and reading goes on.
        wait = None if charged is None or isinstance(charged, Exception) else int(charged)
        now, key, disabled, allowed, *job = said
        return (
            Looked(
                now=int(now),
                key=key,
                disabled=disabled != "",
                rate=float(allowed) if allowed else None,
                job=dict(zip(job[::2], job[1::2], strict=True)),
            ),
            wait,
        )

    def _look_each(self, calls: Sequence[_Call]) -> dict[_Call, tuple[Any, Any]]:
        """What ``admit`` and ``charge`` said to each, errors in their places."""
        asked: list[tuple[str, list[Argument]]] = []
        for call in calls:
            asked.append(("admit", [call.key_id, call.limit, call.job_id, self._now]))
            if call.charge is not None:
                tenant, rate = call.charge
                asked.append(("charge", [tenant, call.limit, rate, BURST_SECONDS, self._now]))
        answers = iter(self._client.call_together(asked))
        return {
            call: (next(answers), None if call.charge is None else next(answers)) for call in calls
        }

    def charge(self, tenant: str, limit: str, rate: float) -> int:
        """Count a call against a tenant's rate; ms after which it would be let in, 0 when it is.

        Raises:
            Unavailable: Redis is away or takes no writes.
        """
        return int(self._client.call("charge", tenant, limit, rate, BURST_SECONDS, self._now))

    def key_used(self, key_id: str) -> None:
        """Note that a key was used, at most once a minute."""
        self._client.call("key_used", key_id, KEY_USED_MS, self._now)

    def keys_used(self, key_ids: list[str]) -> dict[str, int]:
        """When these keys were last used, to the minute, in ms; without those that never were."""
        if not key_ids:
            return {}
        with ledger_faults():
            said = cast("list[str | None]", self._client.redis.hmget("keys:used", key_ids))
        return {key: int(at) for key, at in zip(key_ids, said, strict=True) if at is not None}

    def count(self, calls: Mapping[str, int]) -> None:
        """Count calls by tenant."""
        flat = [part for tenant, number in calls.items() for part in (tenant, number)]
        self._client.call("requests", self._now, *flat)
