"""Committing what was computed of a range: its part into the store, then its rows done in the ledger."""

from __future__ import annotations

import structlog

from jobs.devices import Device
from storage.ledger import Answer
from workers.computing import OpenJob, Work
from workers.lease import Lease, persist
from workers.runtime import Runtime

log = structlog.get_logger(__name__)


class Committer:
    """Commits ranges of one device's worker. Safe to use while the next one is computed."""

    def __init__(self, runtime: Runtime, device: Device) -> None:
        self._runtime = runtime
        self._device = device

    def commit(self, opened: OpenJob, lease: Lease, work: Work) -> None:
        """Commit what was computed; the rest of the range goes back.

        Raises:
            LeaseLost: the range may be somebody else's by now.
            JobStopped: the job's outcome is decided.
            Unavailable: the store or the ledger is away for long.
        """
        ledger, store = self._runtime.ledger, self._runtime.store
        done = work.done
        if done is None:
            ledger.ranges.release(lease.job_id, lease.rows, lease.token)
            return
        device_ms = round(work.device_seconds * 1000)
        part = work.lines.encode(
            done,
            generation=opened.names.generation,
            usage=work.usage,
            device_ms=device_ms,
        )
        persist(lease, lambda: store.put(opened.names.part(done, lease.token), part))
        answer = persist(
            lease,
            lambda: ledger.ranges.commit(
                lease.job_id,
                lease.rows,
                lease.token,
                done=done,
                results=work.lines.result_count,
                errors=work.lines.error_count,
                usage=work.usage,
                device_ms=device_ms,
                size=work.lines.size,
            ),
        )
        if answer is Answer.GATHER:
            self._runtime.broker.gather(lease.job_id, opened.job.lane)
        if answer is Answer.FINALIZE:
            self._runtime.broker.finalize(lease.job_id, opened.job.lane)
        self._measure(opened, work)
        log.info(
            "committed",
            job=lease.job_id,
            rows=str(done),
            answer=answer.value,
            seconds=round(work.seconds, 2),
            errors=work.lines.error_count,
        )

    def _measure(self, opened: OpenJob, work: Work) -> None:
        """Remember the speed, so that later plans cut shards of the right size.

        Carried rows say nothing of it, and few rows among many of them little.
        """
        if work.done is not None and work.row_bytes and work.seconds > 0 and not work.carried:
            speed = len(work.done) * work.row_bytes / work.seconds
            self._runtime.ledger.workers.record_speed(
                opened.kind.name, opened.job.model_key, self._device.type, speed
            )
