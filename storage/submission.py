"""What is asked of a job - submit, cancel, retry, delete: the object first, then the ledger, then the message."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, cast

import orjson

from jobs.errors import Conflict, InvalidRequest, QuotaExceeded, Unavailable
from jobs.ids import idempotent_job_id, new_id
from jobs.names import JobNames, TenantNames
from jobs.origin import Origin
from jobs.record import JobRecord
from jobs.spec import JobSpec, OutputLayout
from jobs.states import Lane, Status
from jobs.timing import day_of
from storage.broker import Broker
from storage.installation import Installation
from storage.intents import Act, Intent, IntentIndex
from storage.ledger import Ledger, NewJob
from storage.objects import ObjectMissing, ObjectStore
from storage.quotas import count_stored, require_room

#: Submissions of one process whose intent is noted at the same time.
_THREADS = 8

#: Inputs of at most so many bytes are planned in the quick lane.
QUICK_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class SubmittedJob:
    """``job.json``: what was asked for, with what the references in it stood for at that moment."""

    id: str
    tenant: str
    spec: JobSpec
    model: dict[str, Any] | None  #: ``ref`` with its version pinned
    body_hash: str  #: SHA-256 of the spec, to tell a repeated submission from another one
    created_at: int  #: ms, by Redis's clock
    lane: Lane
    origin: Origin | None = None  #: the run of a schedule that it belongs to

    def to_json(self) -> bytes:
        entry = {
            "id": self.id,
            "tenant": self.tenant,
            "spec": self.spec.model_dump(mode="json"),
            "model": self.model,
            "body_hash": self.body_hash,
            "created_at": self.created_at,
            "lane": self.lane.value,
        }
        if self.origin is not None:
            entry["origin"] = asdict(self.origin)
        return orjson.dumps(entry)

    @classmethod
    def from_json(cls, data: bytes) -> SubmittedJob:
        entry = orjson.loads(data)
        origin = entry.get("origin")
        return cls(
            id=entry["id"],
            tenant=entry["tenant"],
            spec=JobSpec.model_validate(entry["spec"]),
            model=entry["model"],
            body_hash=entry["body_hash"],
            created_at=entry["created_at"],
            lane=Lane(entry["lane"]),
            origin=None if origin is None else Origin(**origin),
        )

    @property
    def model_key(self) -> str:
        """What residency goes by."""
        return "" if self.model is None else str(self.model["ref"])

    @property
    def model_owner(self) -> str:
        """The tenant whose model it uses: its own, or the one that shares it with all."""
        return self.tenant if self.model is None else str(self.model.get("owner") or self.tenant)

    def new_job(self) -> NewJob:
        """The ledger's entry for it."""
        return NewJob(
            id=self.id,
            tenant=self.tenant,
            kind=self.spec.kind,
            model=self.model,
            model_key=self.model_key,
            name=self.spec.name,
            priority=self.spec.priority,
            metadata=self.spec.metadata,
            max_error_rows=self.spec.max_error_rows,
            max_error_share=self.spec.max_error_share,
            lane=self.lane,
            window_ms=self.spec.window_ms,
            created_at=self.created_at,
            output=self._output(),
            webhook=self.spec.webhook is not None,
            schedule=None if self.origin is None else self.origin.public(),
            rows=self.rows,
        )

    @property
    def layout(self) -> OutputLayout:
        """How its output is laid out where it is written to as well."""
        given = None if self.spec.output is None else self.spec.output.layout
        return given or ("job" if self.origin is None else "date")

    @property
    def day(self) -> str:
        """The ISO day that its output belongs to."""
        return day_of(self.created_at, "UTC") if self.origin is None else self.origin.date

    def _output(self) -> dict[str, str] | None:
        given = self.spec.output
        return None if given is None else {**given.model_dump(mode="json"), "layout": self.layout}

    @property
    def rows(self) -> int | None:
        """Rows of the input, where they are known before planning."""
        return None if self.spec.input.items is None else len(self.spec.input.items)


@dataclass(frozen=True, kw_only=True)
class Retry:
    """``retries/<generation>.json``: that a job is to be tried again, and from where."""

    generation: int
    base: int  #: rows that have a result already
    at: int  #: ms

    def to_json(self) -> bytes:
        return orjson.dumps({"generation": self.generation, "base": self.base, "at": self.at})

    @classmethod
    def from_json(cls, data: bytes) -> Retry:
        entry = orjson.loads(data)
        return cls(generation=entry["generation"], base=entry["base"], at=entry["at"])


class Submissions:
    """The way in."""

    def __init__(
        self, store: ObjectStore, ledger: Ledger, broker: Broker, installation: Installation
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._broker = broker
        self._installation = installation
        self._intents = IntentIndex(store)
        self._pool = ThreadPoolExecutor(_THREADS, "intents")

    def submit(
        self,
        tenant: str,
        spec: JobSpec,
        model: dict[str, Any] | None,
        idempotency_key: str | None = None,
        *,
        input_bytes: int | None = None,
        origin: Origin | None = None,
    ) -> tuple[JobRecord, bool]:
        """Take a job in; its record, and whether it is new.

        The order makes it safe to be killed anywhere and to be asked again: ``job.json`` is the job, the
        ledger only knows of it, and the message is only a hint.

        Args:
            tenant: whose it is.
            spec: what is asked for.
            model: what its model reference stands for.
            idempotency_key: names the submission.
            input_bytes: size of the input, where it is known.
            origin: the run of a schedule that it belongs to.

        Raises:
            Conflict: the same ``Idempotency-Key`` came with another body before, or its job was deleted.
            QuotaExceeded: the tenant has no room for it.
            InvalidRequest: it has more rows than the tenant may ever have waiting.
            Unavailable: store or ledger are away; asking again with the same key is safe.
        """
        # Both refuse before the first write where the ledger could not take the entry.
        self._ledger.pressure.require_room()
        job_id = self._job_id(tenant, idempotency_key)
        now = self._make_room(tenant, job_id, spec)
        body = orjson.dumps(spec.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        job = SubmittedJob(
            id=job_id,
            tenant=tenant,
            spec=spec,
            model=model,
            body_hash=hashlib.sha256(body).hexdigest(),
            created_at=now,
            lane=_lane(spec, input_bytes),
            origin=origin,
        )
        intent = Intent(at=now, tenant=tenant, subject=job.id, act=Act.SUBMIT)
        # Side by side: both must stand before anybody is told, and either alone does no harm.
        try:
            noted = self._pool.submit(self._intents.record, intent)
        except RuntimeError:
            # The process ends; its threads are gone already.
            raise Unavailable("the server is stopping") from None
        names = JobNames(tenant, job.id)
        new = self._store.put_once(names.spec, job.to_json())
        noted.result()
        if not new:
            earlier = SubmittedJob.from_json(self._store.get(names.spec))
            if earlier.body_hash != job.body_hash:
                raise Conflict(
                    "this Idempotency-Key was used before with another body; use a new key for a new job"
                )
            job = earlier
        if self._ledger.jobs.enter(job.new_job()):
            self._broker.plan(job.id, job.lane)
        return self._ledger.jobs.get(tenant, job.id), new

    def _make_room(self, tenant: str, job_id: str, spec: JobSpec) -> int:
        rows = None if spec.input.items is None else len(spec.input.items)
        try:
            return require_room(self._ledger, job_id, tenant, rows)
        except QuotaExceeded as refused:
            # Waiting makes room for others, but never for a job that is too large by itself.
            most = self._ledger.accounts.limits(tenant).rows_queued
            if refused.fields[0].field == "rows_queued" and most is not None and (rows or 0) > most:
                raise InvalidRequest.of(
                    "input.items", f"expected at most {most:.0f} rows, this tenant's quota", rows
                ) from None
            raise

    def id_of(self, tenant: str, idempotency_key: str) -> str:
        """The id of the job that a submission with this key makes, or has made."""
        return idempotent_job_id(self._installation.idempotency_secret, tenant, idempotency_key)

    def _job_id(self, tenant: str, idempotency_key: str | None) -> str:
        if idempotency_key is None:
            return new_id("job")
        job_id = self.id_of(tenant, idempotency_key)
        if self._store.exists(TenantNames(tenant).deleted(job_id)):
            raise Conflict(
                "the job of this Idempotency-Key was deleted; use a new key for a new job"
            )
        return job_id

    def load(self, tenant: str, job_id: str) -> SubmittedJob:
        """A job's ``job.json``."""
        return SubmittedJob.from_json(self._store.get(JobNames(tenant, job_id).spec))

    def cancel(self, tenant: str, job_id: str) -> JobRecord:
        """Cancel a job. Asking twice is harmless.

        Raises:
            NotFound: the tenant has no such job.
            Conflict: it has ended, or is being finalized.
        """
        record = self._ledger.jobs.get(tenant, job_id)
        if record.status not in (Status.CANCELLING, Status.CANCELLED):
            if record.status.ended or record.status is Status.FINALIZING:
                raise Conflict(f"the job is {record.status} and cannot be cancelled any more")
            names = JobNames(tenant, job_id, record.attempts)
            self._intents.record(
                Intent(at=record.now, tenant=tenant, subject=job_id, act=Act.CANCEL)
            )
            self._store.put_json(names.cancel, {"cancelled": True})
            decided, status = self._ledger.jobs.cancel(job_id)
            if decided:
                self._broker.finalize(job_id, record.lane)
            elif status not in (Status.CANCELLING, Status.CANCELLED):
                self._store.delete(names.cancel)
                raise Conflict(f"the job is {status} and cannot be cancelled any more")
        return self._ledger.jobs.get(tenant, job_id)

    def retry(self, tenant: str, job_id: str, *, attempts: int | None = None) -> JobRecord:
        """Try the rows of an ended job again that have no result: those that failed, and those never reached.

        Args:
            tenant: whose it is.
            job_id: the job.
            attempts: how many the caller knows of; None: whatever there were.

        Raises:
            NotFound: the tenant has no such job.
            Conflict: it has not ended, every row has a result, or somebody else tried it again meanwhile.
            QuotaExceeded: the tenant has no room for it.
        """
        record = self._ledger.jobs.get(tenant, job_id)
        if attempts is not None and record.attempts != attempts:
            raise Conflict("the job was tried again meanwhile")
        if not record.status.ended:
            raise Conflict(f"the job is {record.status}; only an ended job can be tried again")
        if record.status is Status.COMPLETED and record.failed == 0:
            raise Conflict("every row of the job has a result; there is nothing to try again")
        self._ledger.pressure.require_room()
        names = JobNames(tenant, job_id)
        generation = record.attempts + 1
        left = None if record.total is None else record.total - record.completed
        require_room(self._ledger, job_id, tenant, left, retry=True)
        intent = Intent(at=record.now, tenant=tenant, subject=job_id, act=Act.RETRY)
        self._intents.record(intent)
        asked = Retry(generation=generation, base=record.completed, at=record.now)
        self._store.put_once(names.retry(generation), asked.to_json())
        window = self.load(tenant, job_id).spec.window_ms
        begun, _ = self._ledger.jobs.retry(job_id, generation, record.completed, window)
        if begun:
            self._broker.plan(job_id, record.lane)
        return self._ledger.jobs.get(tenant, job_id)

    def delete(self, tenant: str, job_id: str) -> None:
        """Delete an ended job with all its objects. Asking twice is harmless.

        Raises:
            NotFound: the tenant has no such job.
            Conflict: it has not ended.
        """
        record = self._ledger.jobs.get(tenant, job_id)
        if not record.status.ended:
            raise Conflict(f"the job is {record.status}; cancel it before you delete it")
        self._intents.record(Intent(at=record.now, tenant=tenant, subject=job_id, act=Act.DELETE))
        self._store.put_json(TenantNames(tenant).deleted(job_id), {"id": job_id, "at": record.now})
        names = JobNames(tenant, job_id)
        # From here on it is no job any more; what is left of it is swept together by whoever comes by.
        self._store.delete(names.spec)
        if not self._ledger.jobs.forget(job_id):
            raise Conflict("the job is being tried again")
        removed = remove_objects(self._store, names)
        count_stored(self._ledger, tenant, -removed.bytes)


def _lane(spec: JobSpec, input_bytes: int | None) -> Lane:
    small = spec.input.items is not None or (input_bytes is not None and input_bytes <= QUICK_BYTES)
    return Lane.QUICK if small else Lane.BULK


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What was removed from the store."""

    objects: int
    bytes: int


def remove_objects(store: ObjectStore, names: JobNames) -> Removed:
    """Remove whatever lies under a job's prefix, and its deliveries."""
    objects = size = 0
    for prefix in (names.prefix, TenantNames(names.tenant).deliveries(names.job_id)):
        for found in store.list(prefix):
            store.delete(found.name)
            objects += 1
            size += found.size
    return Removed(objects=objects, bytes=size)


def read_manifest(store: ObjectStore, names: JobNames) -> dict[str, Any]:
    """The manifest of a job's generation.

    Raises:
        ObjectMissing: it has none yet.
    """
    return cast("dict[str, Any]", store.get_json(names.manifest))


def newest_retry(store: ObjectStore, names: JobNames) -> Retry | None:
    """The newest retry that was asked for, if any."""
    newest: Retry | None = None
    for found in store.list(names.retries, recursive=False):
        if found.name.endswith(".json"):
            retry = Retry.from_json(store.get(found.name))
            if newest is None or retry.generation > newest.generation:
                newest = retry
    return newest


def object_or_none(store: ObjectStore, name: str) -> bytes | None:
    """A small object, or None where there is none."""
    try:
        return store.get(name)
    except ObjectMissing:
        return None
