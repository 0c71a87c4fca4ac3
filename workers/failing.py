"""Ending a job by a permanent fault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from jobs.errors import JobFailure, TextmillError
from jobs.kinds import Kind
from nlp.batching import is_device_lost
from workers.lease import Drain, JobStopped, LeaseLost
from workers.runtime import Runtime

log = structlog.get_logger(__name__)


@contextmanager
def kind_faults(kind: Kind) -> Iterator[None]:
    """Turn a bug of a kind into the failure of the job that met it.

    Kinds come from third parties too. The same rows would fail again, so trying again is no help.

    Raises:
        JobFailure: ``kind_broken``.
    """
    try:
        yield
    except (TextmillError, Drain, LeaseLost, JobStopped):
        raise
    except Exception as error:
        if is_device_lost(error):
            # Nothing in this process can use the device again; Celery puts a fresh one in its place.
            log.exception("device lost", kind=kind.name)
            os._exit(1)
        raise broken(kind, error) from error


def broken(kind: Kind, error: Exception) -> JobFailure:
    """The failure of a job that met a bug of its kind."""
    log.error("kind failed", kind=kind.name, exc_info=error)
    return JobFailure("kind_broken", f"kind {kind.name} failed: {type(error).__name__}: {error}")


def fail_job(runtime: Runtime, job_id: str, failure: TextmillError) -> None:
    """Decide that a job failed, and have it finalized with the rows that were done."""
    code = failure.failure_code if isinstance(failure, JobFailure) else failure.code
    error: dict[str, Any] = {"code": code, "message": failure.detail}
    if failure.fields:
        error["field"] = failure.fields[0].field
    if runtime.ledger.jobs.fail(job_id, error):
        log.warning("job failed", job=job_id, code=code, reason=failure.detail)
        record = runtime.ledger.jobs.find(job_id)
        if record is not None:
            runtime.broker.finalize(job_id, record.lane)
