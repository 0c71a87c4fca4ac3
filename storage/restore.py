"""One job back into the ledger, from what the store knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import structlog

from jobs.names import JobNames
from jobs.ranges import RowRange
from jobs.record import JobRecord
from jobs.states import Status
from storage.ledger import CommittedPart, Ledger, RestoredPart
from storage.ledger.jobs import ended_fields
from storage.objects import ObjectMissing, ObjectStore
from storage.parts import DamagedPart, read_header
from storage.submission import (
    Retry,
    SubmittedJob,
    newest_retry,
    object_or_none,
    read_manifest,
)
from storage.webhooks import DeliveryStatus, DeliveryTable

log = structlog.get_logger(__name__)

_SHARD_ENDING = ".jsonl.zst"


def restore_job(
    store: ObjectStore, ledger: Ledger, tenant: str, job_id: str, token: str
) -> Status | None:
    """Enter a job anew. Finished work is kept, leases of before are worth nothing.

    Any whole part in the store is taken as that range's output, whether it was ever committed or not: the same rows
    give the same output.

    Args:
        store: where its objects lie.
        ledger: where it goes.
        tenant: whose it is.
        job_id: the job.
        token: the restorer's own; of a whole rebuild, that of its lock.

    Returns:
        Its status; None when there is no such job.

    Raises:
        Replaced: somebody else restores it.
        Unavailable: store or ledger are away.
    """
    spec_data = object_or_none(store, JobNames(tenant, job_id).spec)
    if spec_data is None:
        return None
    job = SubmittedJob.from_json(spec_data)
    retry = newest_retry(store, JobNames(tenant, job_id))
    names = JobNames(tenant, job_id, retry.generation if retry else 1)
    begin = ledger.restoring.begin
    record = _ended(store, names)
    if job.spec.webhook is not None:
        _restore_deliveries(store, ledger, record, names, token)
    if record is not None:
        # What was asked for too, such as its max_errors: it may be tried again.
        fields = job.new_job().fields() + ended_fields(record)
        return begin(job_id, token, tenant, job.created_at, fields)
    begin(job_id, token, tenant, job.created_at, _fields(job, retry))
    for planned, parts in _planned(store, names):
        ledger.restoring.enter(job_id, token, planned, parts)
    rows, warnings = _sealed(store, names)
    return ledger.restoring.end(
        job_id, token, rows=rows, warnings=warnings, cancelled=store.exists(names.cancel)
    )


def _ended(store: ObjectStore, names: JobNames) -> JobRecord | None:
    """How the job's generation ended, if it did."""
    try:
        return JobRecord.from_json(read_manifest(store, names)["job"])
    except ObjectMissing:
        return None


def _restore_deliveries(
    store: ObjectStore, ledger: Ledger, ended: JobRecord | None, names: JobNames, token: str
) -> None:
    """Enter what is still to be told of a job, of earlier generations too."""
    table = DeliveryTable(store)
    if ended is not None:
        # Whoever finalized it may have died before the event was written.
        table.open(ended)
    for delivery in table.of(names.tenant, names.job_id):
        if delivery.status is DeliveryStatus.PENDING:
            ledger.webhooks.enter(delivery.tenant, delivery.id, restorer=token)


def _fields(job: SubmittedJob, retry: Retry | None) -> list[str | int | float]:
    new = job.new_job()
    # A retry computes only some of the rows; which, its ranges say.
    fields = (new if retry is None else replace(new, rows=None)).fields()
    begun = job.created_at
    if retry is not None:
        begun = retry.at
        fields += ["attempts", retry.generation, "base", retry.base, "completed", retry.base]
    if job.spec.window_ms is not None:
        fields += ["expires_at", begun + job.spec.window_ms]
    return fields


def _sealed(store: ObjectStore, names: JobNames) -> tuple[int | None, str]:
    data = object_or_none(store, names.sealed)
    if data is None:
        return None, "[]"
    entry: dict[str, Any] = orjson.loads(data)
    return int(entry["rows"]), orjson.dumps(entry["warnings"]).decode()


def planned_ranges(store: ObjectStore, names: JobNames) -> Iterator[RowRange]:
    """The ranges whose shards lie in the store, in order."""
    for found in store.list(names.shards):
        yield RowRange.parse(found.name.removeprefix(names.shards).removesuffix(_SHARD_ENDING))


def _planned(store: ObjectStore, names: JobNames) -> Iterator[tuple[RowRange, list[RestoredPart]]]:
    """Each planned range with the whole parts that lie in it. Both listings are in order, so they go side by side."""
    parts = _parts(store, names)
    ahead = next(parts, None)
    for planned in planned_ranges(store, names):
        inside: list[CommittedPart] = []
        while ahead is not None and ahead.rows.start < planned.stop:
            inside.append(ahead)
            ahead = next(parts, None)
        yield planned, _chosen(store, names, planned, inside)


def _parts(store: ObjectStore, names: JobNames) -> Iterator[CommittedPart]:
    for found in store.list(names.parts):
        rows, token, *_ = found.name.removeprefix(names.parts).split(".")
        yield CommittedPart(RowRange.parse(rows), token)


def _chosen(
    store: ObjectStore, names: JobNames, planned: RowRange, parts: list[CommittedPart]
) -> list[RestoredPart]:
    """Parts that do not overlap: by their start, the longest first."""
    chosen: list[RestoredPart] = []
    done = planned.start
    for part in sorted(parts, key=lambda part: (part.rows.start, -part.rows.stop, part.token)):
        if part.rows.start < done or part.rows.stop > planned.stop:
            continue
        try:
            header = read_header(store, names, part)
        except (DamagedPart, ObjectMissing) as error:
            log.warning("part not taken", rows=str(part.rows), reason=str(error))
            continue
        chosen.append(
            RestoredPart(
                rows=part.rows,
                token=part.token,
                results=header.results,
                errors=header.errors,
                usage=header.usage,
                device_ms=header.device_ms,
            )
        )
        done = part.rows.stop
    return chosen
