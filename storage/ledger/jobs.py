"""Job records in the ledger: entering, reading, listing, deciding, ending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import orjson

from jobs.errors import NotFound, Unavailable
from jobs.record import JobRecord
from jobs.states import Lane, Priority, Status
from storage.ledger.scripts import LedgerClient, ledger_faults

#: Records read from Redis at a time while listing.
_PAGE = 100

#: Grace in which the first planner should have begun, before the sweeper sends another, in ms.
FIRST_PLANNER_MS = 5_000


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What the ledger is told of a job at submission."""

    id: str
    tenant: str
    kind: str
    model: dict[str, Any] | None
    model_key: str  #: what residency goes by; empty for kinds without a model
    name: str | None
    priority: Priority
    metadata: dict[str, str]
    max_error_rows: int | None
    max_error_share: float | None
    lane: Lane
    window_ms: int | None  #: time in which it must be completed
    created_at: int | None = None  #: ms; Redis's clock when None
    output: dict[str, str] | None = None  #: where its output goes too
    webhook: bool = False  #: whether somebody is told of its end
    schedule: dict[str, str | None] | None = (
        None  #: whose job it is: see :attr:`JobRecord.schedule`
    )
    rows: int | None = None  #: of the input, where they are known before planning

    def fields(self) -> list[str | int | float]:
        """Names and values of the record, one after the other."""
        fields: dict[str, str | int | float | None] = {
            "kind": self.kind,
            "model_key": self.model_key,
            "priority": self.priority.value,
            "lane": self.lane.value,
            "metadata": _dumps(self.metadata),
            "name": self.name,
            "model": None if self.model is None else _dumps(self.model),
            "max_error_rows": self.max_error_rows,
            "max_error_share": self.max_error_share,
            "output": None if self.output is None else _dumps(self.output),
            "schedule": None if self.schedule is None else _dumps(self.schedule),
            "webhook": 1 if self.webhook else None,
            "rows": self.rows,
        }
        return _flat(fields)


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs a listing shows."""

    status: Status | None = None
    kind: str | None = None
    name: str | None = None

    def matches(self, record: JobRecord) -> bool:
        return (
            self.status in (None, record.status)
            and self.kind in (None, record.kind)
            and self.name in (None, record.name)
        )


@dataclass(frozen=True, kw_only=True)
class Census:
    """What is going on, in numbers."""

    jobs: Mapping[Status, int]  #: that have not ended
    pending: int  #: ranges that wait for a worker
    leased: int  #: ranges that workers have


class JobTable:
    """All job records. Ids of jobs are global; every reader gives the tenant it may see."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client

    def enter(self, job: NewJob) -> bool:
        """Enter a job whose ``job.json`` lies in the store; False when it was entered before."""
        created = "" if job.created_at is None else job.created_at
        window = "" if job.window_ms is None else job.window_ms
        return bool(
            self._client.call(
                "submit", job.id, job.tenant, created, FIRST_PLANNER_MS, window, *job.fields()
            )
        )

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these jobs the ledger knows."""
        with ledger_faults():
            pipe = self._client.redis.pipeline(transaction=False)
            for job_id in ids:
                pipe.exists(f"job:{job_id}")
            found = pipe.execute()
        return {job_id for job_id, exists in zip(ids, found, strict=True) if exists}

    def get(self, tenant: str, job_id: str) -> JobRecord:
        """A job of this tenant.

        Raises:
            NotFound: the tenant has no such job.
            Unavailable: the ledger cannot say.
        """
        record = next(self._read([job_id]), None)
        if record is None or record.tenant != tenant:
            raise NotFound(f"no job {job_id}")
        return record

    def find(self, job_id: str) -> JobRecord | None:
        """A job of any tenant, for workers and the sweeper."""
        return next(self._read([job_id]), None)

    def page(
        self, tenant: str, wanted: JobFilter, *, after: str | None, limit: int
    ) -> tuple[list[JobRecord], bool]:
        """One page of jobs, newest first, and whether more follow.

        Args:
            tenant: whose jobs.
            wanted: which of them.
            after: id of the last job of the page before.
            limit: most records of the page.

        Raises:
            NotFound: ``after`` is no job of this tenant.
        """
        found: list[JobRecord] = []
        for record in self._newest_first(tenant, after):
            if wanted.matches(record):
                if len(found) == limit:
                    return found, True
                found.append(record)
        return found, False

    def _newest_first(self, tenant: str, after: str | None) -> Iterator[JobRecord]:
        key = f"tenant:{tenant}:jobs"
        client = self._client.redis
        while True:
            start = 0
            if after is not None:
                # By id, for the ranks move with every job that comes in meanwhile.
                with ledger_faults():
                    rank = cast("int | None", client.zrevrank(key, after))
                if rank is None:
                    raise NotFound(f"no job {after} to go on after")
                start = rank + 1
            with ledger_faults():
                ids = cast("list[str]", client.zrevrange(key, start, start + _PAGE - 1))
            yield from self._read(ids)
            if len(ids) < _PAGE:
                return
            after = ids[-1]

    def active(self) -> set[str]:
        """Ids of all jobs that have not ended."""
        with ledger_faults():
            return cast("set[str]", self._client.redis.smembers("active"))

    def unfinished(self, tenant: str | None) -> Iterator[JobRecord]:
        """The tenant's jobs that have not ended; of None everybody's.

        Raises:
            Unavailable: the ledger cannot say.
        """
        ids = iter(self.active())
        while True:
            # Also of no jobs at all: a ledger that is being built says so.
            chunk = list(islice(ids, _PAGE))
            for record in self._read(chunk):
                if tenant in (None, record.tenant) and not record.status.ended:
                    yield record
            if len(chunk) < _PAGE:
                return

    def census(self) -> Census:
        """Count the jobs that have not ended and their ranges.

        Raises:
            Unavailable: the ledger cannot say.
        """
        pending, leased, *rest = self._client.call("census")
        jobs = {Status(name): int(count) for name, count in zip(rest[::2], rest[1::2], strict=True)}
        return Census(jobs=jobs, pending=int(pending), leased=int(leased))

    def set_model(self, job_id: str, model: dict[str, Any], *, resident: str | None = None) -> None:
        """Say what the job's model turned out to be: ``ref`` as pinned, and facts for its ``model`` block.

        Args:
            resident: what workers hold that need load no model for this job; by default ``ref``.
        """
        self._client.call("set_model", job_id, _dumps(model), resident or str(model["ref"]))

    def cancel(self, job_id: str) -> tuple[bool, Status]:
        """Decide that a job is cancelled; whether this call did it, and the status after it."""
        decided, status = self._client.call("outcome", job_id, "cancelled", "")
        return bool(decided), Status(status)

    def fail(self, job_id: str, error: dict[str, Any]) -> bool:
        """Decide that a job failed; False when it was past that."""
        decided, _ = self._client.call("outcome", job_id, "failed", _dumps(error))
        return bool(decided)

    def finish(self, record: JobRecord, delivery: str | None = None) -> bool:
        """End a job as its manifest says; False when it had ended before, or is at another generation.

        Args:
            record: as the manifest has it.
            delivery: id of the event that is to be told, whose record lies in the store.
        """
        return bool(
            self._client.call(
                "finish",
                record.id,
                record.attempts,
                record.status.value,
                record.ended_at or record.now,
                delivery or "",
                *_flat(
                    {
                        "completed": record.completed,
                        "failed": record.failed,
                        "total": record.total,
                        "warnings": _dumps(record.warnings),
                        "error": None if record.error is None else _dumps(record.error),
                        "evaluation": None
                        if record.evaluation is None
                        else _dumps(record.evaluation),
                        "corpus": None if record.corpus is None else _dumps(record.corpus),
                        "estimate": None if record.estimate is None else _dumps(record.estimate),
                    }
                ),
            )
        )

    def retry(
        self, job_id: str, generation: int, base: int, window_ms: int | None
    ) -> tuple[bool, Status]:
        """Begin a generation of an ended job; whether this call did it, and the status after it.

        Args:
            job_id: the job.
            generation: the new one; the job must be at the one before.
            base: rows that have a result already.
            window_ms: time in which it must be completed.
        """
        window = "" if window_ms is None else window_ms
        begun, status = self._client.call(
            "retry", job_id, generation, base, FIRST_PLANNER_MS, window, ""
        )
        return bool(begun), Status(status)

    def forget(self, job_id: str) -> bool:
        """Forget a deleted job; False when it has not ended."""
        return bool(self._client.call("forget", job_id)[0])

    def fields(self, ids: Sequence[str]) -> tuple[dict[str, dict[str, str]], int]:
        """What the ledger holds of these jobs, of any tenant, those that it knows; and Redis's clock in ms.

        Raises:
            Unavailable: the ledger cannot say.
        """
        hashes, now = self._hashes(ids)
        return {job_id: one for job_id, one in zip(ids, hashes, strict=True) if one}, now

    def _read(self, ids: Iterable[str]) -> Iterator[JobRecord]:
        hashes, now = self._hashes(ids)
        return (record_of(fields, now) for fields in hashes if fields)

    def _hashes(self, ids: Iterable[str]) -> tuple[list[dict[str, str]], int]:
        with ledger_faults():
            pipe = self._client.redis.pipeline(transaction=False)
            pipe.time()
            pipe.exists("ledger:epoch")
            for job_id in ids:
                pipe.hgetall(f"job:{job_id}")
            (seconds, micros), whole, *hashes = pipe.execute()
        if not whole:
            # Without the epoch a missing job may only not have been restored yet: never 404.
            raise Unavailable("the ledger is being built")
        return hashes, seconds * 1000 + micros // 1000


def record_of(fields: Mapping[str, str], now: int) -> JobRecord:
    """A record as the ledger holds it, read at ``now`` (ms)."""

    def number(name: str) -> int:
        return int(fields.get(name, 0))

    def optional(name: str) -> int | None:
        return int(fields[name]) if name in fields else None

    return JobRecord(
        id=fields["id"],
        tenant=fields["tenant"],
        kind=fields["kind"],
        status=Status(fields["status"]),
        created_at=number("created_at"),
        model=orjson.loads(fields["model"]) if "model" in fields else None,
        name=fields.get("name"),
        priority=Priority(fields["priority"]),
        metadata=orjson.loads(fields.get("metadata", "{}")),
        outcome=fields.get("outcome"),
        error=orjson.loads(fields["error"]) if "error" in fields else None,
        warnings=orjson.loads(fields.get("warnings", "[]")),
        started_at=optional("started_at"),
        ended_at=optional("ended_at"),
        expires_at=optional("expires_at"),
        total=optional("total"),
        attempts=number("attempts") or 1,
        base=number("base"),
        waiting=fields.get("waiting"),
        evaluation=orjson.loads(fields["evaluation"]) if "evaluation" in fields else None,
        corpus=orjson.loads(fields["corpus"]) if "corpus" in fields else None,
        estimate=orjson.loads(fields["estimate"]) if "estimate" in fields else None,
        training=orjson.loads(fields["training"]) if "training" in fields else None,
        output=orjson.loads(fields["output"]) if "output" in fields else None,
        schedule=orjson.loads(fields["schedule"]) if "schedule" in fields else None,
        webhook="webhook" in fields,
        lane=Lane(fields.get("lane", "bulk")),
        completed=number("completed"),
        failed=number("failed"),
        input_tokens=number("input_tokens"),
        output_tokens=number("output_tokens"),
        device_ms=number("device_ms"),
        version=number("version"),
        now=now,
    )


def ended_fields(record: JobRecord) -> list[str | int | float]:
    """What became of a job that has ended, names and values one after the other, to enter it anew."""
    return _flat(
        {
            "model": None if record.model is None else _dumps(record.model),
            "status": record.status.value,
            "outcome": record.outcome,
            "error": None if record.error is None else _dumps(record.error),
            "evaluation": None if record.evaluation is None else _dumps(record.evaluation),
            "corpus": None if record.corpus is None else _dumps(record.corpus),
            "estimate": None if record.estimate is None else _dumps(record.estimate),
            "training": None if record.training is None else _dumps(record.training),
            "warnings": _dumps(record.warnings),
            "started_at": record.started_at,
            "ended_at": record.ended_at,
            "expires_at": record.expires_at,
            "total": record.total,
            "completed": record.completed,
            "failed": record.failed,
            "attempts": record.attempts,
            "base": record.base,
            "input_tokens": record.input_tokens,
            "output_tokens": record.output_tokens,
            "device_ms": record.device_ms,
        }
    )


def _flat(fields: Mapping[str, str | int | float | None]) -> list[str | int | float]:
    return [part for name, value in fields.items() if value is not None for part in (name, value)]


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()
