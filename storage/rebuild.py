"""The whole ledger from the store: after Redis was lost, jobs, keys, tenants and schedules are back, work is kept."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import structlog

from jobs.errors import Unavailable
from jobs.ids import new_token
from jobs.names import TenantNames
from storage.keys import KeyRing
from storage.ledger import Ledger, new_epoch
from storage.ledger.restoring import REBUILD_MS
from storage.objects import ObjectStore
from storage.restore import restore_job
from storage.schedules import ScheduleBook
from storage.tenants import TenantTable, tenants
from storage.usage import UsageBook
from storage.webhooks import DeliveryTable

log = structlog.get_logger(__name__)

_WHOLE = "the ledger is whole; it can be rebuilt only when it is empty"

#: Jobs restored at once: each is mostly waiting for the store.
_THREADS = 8


class BeingBuilt(Unavailable):
    """Somebody else is building the ledger at this moment."""


class Whole(Unavailable):
    """There is nothing to build: the ledger is whole."""


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What a rebuild found."""

    jobs: dict[str, int]  #: how many there are of each status
    keys: int
    seconds: float


def rebuild(
    store: ObjectStore,
    ledger: Ledger,
    owner: str,
    progress: Callable[[str], None] = lambda _job_id: None,
) -> Rebuilt:
    """Build a ledger that has no epoch; its epoch comes last, so that nobody trusts half of it.

    Args:
        store: what is true.
        ledger: what is built.
        owner: id of the installation.
        progress: called with the id of each job that was restored.

    Raises:
        BeingBuilt: somebody else is at it.
        Whole: the ledger is whole.
        Unavailable: store or Redis are away.
    """
    if ledger.epoch() is not None:
        raise Whole(_WHOLE)
    token, started = new_token(), time.monotonic()
    if not ledger.restoring.lock(token):
        raise BeingBuilt("the ledger is being built by somebody else")
    if ledger.epoch() is not None:
        # Whoever had the lock has just ended; what would be cleared now is what it built.
        ledger.restoring.unlock(token)
        raise Whole(_WHOLE)
    log.info("building the ledger from the store")
    with _Kept(ledger, token):
        ledger.restoring.clear(token)
        keys = 0
        jobs: Counter[str] = Counter()
        ring, records, usage, schedules, deliveries = (
            KeyRing(store, ledger),
            TenantTable(store, ledger),
            UsageBook(store, ledger),
            ScheduleBook(store, ledger),
            DeliveryTable(store),
        )
        ledger.accounts.publish_defaults()
        for tenant in tenants(store):
            records.restore(tenant)
            usage.restore(tenant)
            schedules.restore(tenant, token)
            deliveries.restore(tenant, ledger, token)
            for key in ring.list(tenant):
                ring.restore(key)
                keys += 1

            def restore(job_id: str, tenant: str = tenant) -> None:
                status = restore_job(store, ledger, tenant, job_id, token)
                if status is not None:
                    jobs[status.value] += 1
                    progress(job_id)

            _each(restore, store, TenantNames(tenant).jobs)
        ledger.restoring.complete(token, new_epoch(owner))
    found = Rebuilt(jobs=dict(jobs), keys=keys, seconds=time.monotonic() - started)
    log.info("ledger built", jobs=found.jobs, keys=keys, seconds=round(found.seconds, 2))
    return found


def _each(restore: Callable[[str], None], store: ObjectStore, folder: str) -> None:
    """Restore every job of a folder, a few at a time and never more listed than that."""
    with ThreadPoolExecutor(_THREADS) as pool:
        room = threading.BoundedSemaphore(_THREADS * 2)
        pending: list[Future[None]] = []
        for found in store.list(folder, recursive=False):
            job_id = found.name.removeprefix(folder).strip("/")
            room.acquire()
            task = pool.submit(restore, job_id)
            task.add_done_callback(lambda _: room.release())
            pending = [one for one in pending if not one.done() or one.exception()] + [task]
        for task in pending:
            task.result()


class _Kept:
    """Keeps the lock while the rebuild runs, however long a single job takes, and no longer."""

    def __init__(self, ledger: Ledger, token: str) -> None:
        self._ledger = ledger
        self._token = token
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="rebuild lock", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        # A rebuild that failed is tried again at once, by whoever comes.
        with suppress(Unavailable):
            self._ledger.restoring.unlock(self._token)

    def _keep(self) -> None:
        while not self._done.wait(REBUILD_MS / 1000 / 4):
            try:
                self._ledger.restoring.renew(self._token)
            except Unavailable as error:
                log.warning("rebuild lock not renewed", reason=error.detail)
