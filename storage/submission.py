"""Submitting and cancelling jobs: the object first, then the ledger, then the message."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, cast

import orjson

from jobs.errors import Conflict
from jobs.ids import idempotent_job_id, new_id
from jobs.names import JobNames
from jobs.record import JobRecord
from jobs.spec import JobSpec
from jobs.states import Status
from storage.broker import Broker
from storage.installation import Installation
from storage.ledger import Ledger, NewJob
from storage.objects import ObjectStore


@dataclass(frozen=True, kw_only=True)
class SubmittedJob:
    """``job.json``: what was asked for, with what the references in it stood for at that moment."""

    id: str
    tenant: str
    spec: JobSpec
    model: dict[str, Any] | None  #: ``ref`` with its version pinned
    body_hash: str  #: SHA-256 of the spec, to tell a repeated submission from another one

    def to_json(self) -> bytes:
        entry = {
            "id": self.id,
            "tenant": self.tenant,
            "spec": self.spec.model_dump(mode="json"),
            "model": self.model,
            "body_hash": self.body_hash,
        }
        return orjson.dumps(entry)

    @classmethod
    def from_json(cls, data: bytes) -> SubmittedJob:
        entry = orjson.loads(data)
        return cls(
            id=entry["id"],
            tenant=entry["tenant"],
            spec=JobSpec.model_validate(entry["spec"]),
            model=entry["model"],
            body_hash=entry["body_hash"],
        )

    @property
    def model_key(self) -> str:
        """What residency goes by."""
        return "" if self.model is None else str(self.model["ref"])

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
        )


class Submissions:
    """The way in."""

    def __init__(
        self, store: ObjectStore, ledger: Ledger, broker: Broker, installation: Installation
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._broker = broker
        self._installation = installation

    def submit(
        self,
        tenant: str,
        spec: JobSpec,
        model: dict[str, Any] | None,
        idempotency_key: str | None = None,
    ) -> tuple[JobRecord, bool]:
        """Take a job in; its record, and whether it is new.

        The order makes it safe to be killed anywhere and to be asked again: ``job.json`` is the job, the
        ledger only knows of it, and the message is only a hint.

        Raises:
            Conflict: the same ``Idempotency-Key`` came with another body before.
            Unavailable: store or ledger are away; asking again with the same key is safe.
        """
        if idempotency_key is None:
            job_id = new_id("job")
        else:
            secret = self._installation.idempotency_secret
            job_id = idempotent_job_id(secret, tenant, idempotency_key)
        body = orjson.dumps(spec.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        job = SubmittedJob(
            id=job_id,
            tenant=tenant,
            spec=spec,
            model=model,
            body_hash=hashlib.sha256(body).hexdigest(),
        )
        names = JobNames(tenant, job_id)
        # Refuse before the first write where the ledger could not take the entry.
        self._ledger.require_epoch()
        new = self._store.put_once(names.spec, job.to_json())
        if not new:
            earlier = SubmittedJob.from_json(self._store.get(names.spec))
            if earlier.body_hash != job.body_hash:
                raise Conflict(
                    "this Idempotency-Key was used before with another body; use a new key for a new job"
                )
            job = earlier
        if self._ledger.jobs.enter(job.new_job()):
            self._broker.plan(job_id)
        return self._ledger.jobs.get(tenant, job_id), new

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
            self._store.put_json(JobNames(tenant, job_id).cancel, {"cancelled": True})
            decided, status = self._ledger.jobs.cancel(job_id)
            if decided:
                self._broker.finalize(job_id)
            elif status not in (Status.CANCELLING, Status.CANCELLED):
                self._store.delete(JobNames(tenant, job_id).cancel)
                raise Conflict(f"the job is {status} and cannot be cancelled any more")
        return self._ledger.jobs.get(tenant, job_id)


def read_manifest(store: ObjectStore, names: JobNames) -> dict[str, Any]:
    """A job's manifest.

    Raises:
        ObjectMissing: it has none yet.
    """
    return cast("dict[str, Any]", store.get_json(names.manifest))
