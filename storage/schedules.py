"""Schedules: each is the list of its revisions, of which the newest counts.

A revision is one object that is created only if none has its number, so of several changes at once none is lost: each
is made to what the one before it left. The ledger only knows which schedules there are, and when to look at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from typing import Any

import orjson

from jobs.errors import Conflict, InvalidRequest, NotFound, Unavailable
from jobs.ids import is_id, new_id, new_token
from jobs.names import TenantNames
from jobs.schedule_names import ScheduleNames
from jobs.schedules import TIMING_FIELDS, ScheduleSpec, firings
from storage.intents import Act, Intent, IntentIndex
from storage.ledger import Ledger
from storage.objects import ObjectMissing, ObjectStore

#: Code of a pause that failed runs brought about.
TOO_MANY_FAILURES = "too_many_failures"

#: Schedules that a tenant may have.
MOST_SCHEDULES = 1_000

#: Times that a look or a change is tried again because others change the schedule too.
_TRIES = 20

#: Revisions up to this size are kept parsed, some hundreds of them.
_REMEMBERED_BYTES = 16 << 10


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A schedule as it is from one change to the next. Times are ms by Redis's clock."""

    id: str
    tenant: str
    spec: ScheduleSpec
    created_at: int  #: of the schedule
    changed_at: int
    since: int  #: firings up to here were decided by earlier revisions, or are not to be made
    counted_from: int  #: runs before this do not count as failures in a row
    number: int = 0
    paused: dict[str, Any] | None = None  #: ``at``, ``code`` and ``message``: since when, and why
    deleted: bool = False
    token: str = ""  #: of whoever made it, to know a put whose answer was lost

    def firings(self, after: int, most: int) -> list[tuple[int, int]]:
        """The firings after a moment, as pairs of fire time and due time."""
        return list(islice(firings(self.id, self.spec, self.created_at, after), most))

    def to_json(self) -> bytes:
        entry = {name: value for name, value in vars(self).items() if name != "spec"}
        return orjson.dumps({**entry, "spec": self.spec.model_dump(mode="json")})

    @classmethod
    def from_json(cls, data: bytes) -> Revision:
        # Most are read again at each look; large ones are not worth their room.
        return _parsed(data) if len(data) <= _REMEMBERED_BYTES else _parsed.__wrapped__(data)


@lru_cache(maxsize=512)
def _parsed(data: bytes) -> Revision:
    entry = orjson.loads(data)
    spec = ScheduleSpec.model_validate_json(orjson.dumps(entry.pop("spec")))
    return Revision(**entry, spec=spec)


def newest_revision(store: ObjectStore, tenant: str, schedule_id: str) -> Revision | None:
    """See :meth:`ScheduleBook.newest`."""
    folder = ScheduleNames(tenant, schedule_id).revisions
    for _ in range(_TRIES):
        found = next(iter(store.list(folder)), None)
        if found is None:
            return None
        try:
            return Revision.from_json(store.get(found.name))
        except ObjectMissing:
            # It was deleted meanwhile, and a newer one says so.
            continue
    raise Unavailable(f"the newest revision of {schedule_id} cannot be read")


class ScheduleBook:
    """The schedules of all tenants."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._intents = IntentIndex(store)

    # --- asking --------------------------------------------------------------------------------------

    def create(
        self, tenant: str, spec: ScheduleSpec, schedule_id: str | None = None
    ) -> tuple[Revision, bool]:
        """Make a schedule; it, and whether it is new.

        Args:
            tenant: whose it is.
            spec: what is asked for.
            schedule_id: made of an ``Idempotency-Key``.

        Raises:
            InvalidRequest: the tenant has too many, or this one would never fire.
            Conflict: the same ``Idempotency-Key`` came with another body before.
        """
        now = self._ledger.now()
        new = Revision(
            id=schedule_id or new_id("schedule"),
            tenant=tenant,
            spec=spec,
            created_at=now,
            changed_at=now,
            since=now,
            counted_from=now,
            token=new_token(),
        )
        names = ScheduleNames(tenant, new.id)
        if schedule_id is not None and (known := self.newest(tenant, schedule_id)) is not None:
            return self._repeated(known, spec)
        _check_future(new)
        if self._ledger.schedules.count(tenant) >= MOST_SCHEDULES:
            reason = f"the tenant has {MOST_SCHEDULES} schedules, which is the most; delete one"
            raise InvalidRequest.of("schedules", reason)
        if not self._put(new):
            return self._repeated(Revision.from_json(self._store.get(names.revision(0))), spec)
        self._enter(new)
        return new, True

    def _repeated(self, known: Revision, spec: ScheduleSpec) -> tuple[Revision, bool]:
        first = self.revision(known.tenant, known.id, 0)
        if first is None or known.deleted:
            raise Conflict("the schedule of this Idempotency-Key was deleted; use a new key")
        if first.spec != spec:
            raise Conflict(
                "this Idempotency-Key was used before with another body; use a new key for a new schedule"
            )
        self._enter(known)
        return known, False

    def change(
        self, tenant: str, schedule_id: str, decide: Callable[[Revision], Revision | None]
    ) -> Revision:
        """Change a schedule; the revision that counts then.

        Args:
            tenant: whose it is.
            schedule_id: which.
            decide: given the newest revision, what it is to be, or None to leave it. Asked again where somebody else
                was quicker.

        Raises:
            NotFound: there is no such schedule.
            Unavailable: others change it all the time.
        """
        for _ in range(_TRIES):
            newest = self.get(tenant, schedule_id)
            wanted = decide(newest)
            if wanted is None:
                return newest
            wanted = replace(
                wanted,
                number=newest.number + 1,
                token=new_token(),
                changed_at=self._ledger.now(),
            )
            if self._put(wanted):
                self._enter(wanted)
                return wanted
        raise Unavailable(f"{schedule_id} is being changed by many at once")

    def revise(
        self,
        tenant: str,
        schedule_id: str,
        now: int,
        changed: Callable[[ScheduleSpec], ScheduleSpec],
    ) -> Revision:
        """Give a schedule another spec.

        Args:
            tenant: whose it is.
            schedule_id: which.
            now: another timing counts from here on, in ms.
            changed: gives the new spec, from the newest.

        Raises:
            InvalidRequest: it would never fire.
        """

        def decide(newest: Revision) -> Revision | None:
            spec = changed(newest.spec)
            if spec == newest.spec:
                return None
            moved = any(getattr(spec, one) != getattr(newest.spec, one) for one in TIMING_FIELDS)
            since = max(newest.since, now) if moved else newest.since
            new = replace(newest, spec=spec, since=since)
            if moved:
                _check_future(new)
            return new

        return self.change(tenant, schedule_id, decide)

    def pause(self, tenant: str, schedule_id: str, *, code: str, message: str) -> Revision:
        """Let a schedule fire no more until it is resumed; what it was paused for first stays."""
        reason = {"at": self._ledger.now(), "code": code, "message": message}
        return self.change(
            tenant, schedule_id, lambda one: None if one.paused else replace(one, paused=reason)
        )

    def resume(self, tenant: str, schedule_id: str) -> Revision:
        """Let a paused schedule fire again. What would have been due meanwhile is not made up for."""
        now = self._ledger.now()
        return self.change(
            tenant,
            schedule_id,
            lambda one: (
                replace(one, paused=None, since=now, counted_from=now) if one.paused else None
            ),
        )

    def delete(self, tenant: str, schedule_id: str) -> None:
        """Delete a schedule with its history; its jobs stay. A last revision stays and says so.

        Raises:
            NotFound: there is no such schedule.
        """
        last = self.change(tenant, schedule_id, lambda one: replace(one, deleted=True))
        self._clear(last)

    def _clear(self, last: Revision) -> None:
        names = ScheduleNames(last.tenant, last.id)
        deliveries = TenantNames(last.tenant).deliveries(last.id)
        for found in chain(self._store.list(names.prefix), self._store.list(deliveries)):
            if found.name != names.revision(last.number):
                self._store.delete(found.name)

    # --- showing -------------------------------------------------------------------------------------

    def newest(self, tenant: str, schedule_id: str) -> Revision | None:
        """The newest revision of a schedule, which may be its deletion.

        Raises:
            Unavailable: the store lists what it does not have.
        """
        return newest_revision(self._store, tenant, schedule_id)

    def revision(self, tenant: str, schedule_id: str, number: int) -> Revision | None:
        """One of its revisions."""
        try:
            name = ScheduleNames(tenant, schedule_id).revision(number)
            return Revision.from_json(self._store.get(name))
        except ObjectMissing:
            return None

    def get(self, tenant: str, schedule_id: str) -> Revision:
        """A schedule of this tenant.

        Raises:
            NotFound: it has no such schedule.
        """
        found = self.newest(tenant, schedule_id) if is_id(schedule_id, "schedule") else None
        if found is None or found.deleted:
            raise NotFound("no such schedule")
        return found

    def page(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[Revision], bool]:
        """Some schedules, by their ids, and whether more follow."""
        found: list[Revision] = []
        for revision in self._all(tenant, after):
            if len(found) == limit:
                return found, True
            found.append(revision)
        return found, False

    def _all(self, tenant: str, after: str | None = None) -> Iterator[Revision]:
        folder = TenantNames(tenant).schedules
        # Whatever lies in the folder that a page ended with sorts before this.
        start = None if after is None else f"{folder}{after}/~"
        for found in self._store.list(folder, recursive=False, start_after=start):
            revision = self.newest(tenant, found.name.removeprefix(folder).rstrip("/"))
            if revision is not None and not revision.deleted and revision.id != after:
                yield revision

    # --- after a loss --------------------------------------------------------------------------------

    def restore(self, tenant: str, token: str) -> int:
        """Enter a tenant's schedules into a ledger that is being built; how many there are."""
        count = 0
        for revision in self._all(tenant):
            self._ledger.schedules.enter(tenant, revision.id, revision.number, restorer=token)
            count += 1
        return count

    def refresh(self, tenant: str, schedule_id: str) -> bool:
        """Make the ledger know a schedule as the store does; whether it did not."""
        newest = self.newest(tenant, schedule_id)
        known = self._ledger.schedules.revision(tenant, schedule_id)
        if newest is None or newest.deleted:
            if newest is not None:
                self._clear(newest)
            return known is not None and self._ledger.schedules.forget(tenant, schedule_id)
        if known == newest.number:
            return False
        return self._ledger.schedules.enter(tenant, schedule_id, newest.number)

    # --- inside --------------------------------------------------------------------------------------

    def _put(self, revision: Revision) -> bool:
        name = ScheduleNames(revision.tenant, revision.id).revision(revision.number)
        if self._store.put_once(name, revision.to_json()):
            return True
        # A put whose answer was lost finds itself when it is sent again.
        return Revision.from_json(self._store.get(name)).token == revision.token

    def _enter(self, revision: Revision) -> None:
        intent = Intent(
            at=revision.changed_at, tenant=revision.tenant, subject=revision.id, act=Act.SCHEDULE
        )
        self._intents.record(intent)
        if revision.deleted:
            self._ledger.schedules.forget(revision.tenant, revision.id)
        else:
            self._ledger.schedules.enter(revision.tenant, revision.id, revision.number)


def _check_future(revision: Revision) -> None:
    if not revision.firings(revision.since, 1):
        field = "ends_at" if revision.spec.ends_at else "cron"
        raise InvalidRequest.of(
            field, "the schedule would never fire from now on", getattr(revision.spec, field)
        )
