"""Ending a job by a permanent fault."""

from __future__ import annotations

from typing import Any

import structlog

from jobs.errors import JobFailure, TextmillError
from workers.runtime import Runtime

log = structlog.get_logger(__name__)


def fail_job(runtime: Runtime, job_id: str, failure: TextmillError) -> None:
    """Decide that a job failed, and have it finalized with the rows that were done."""
    code = failure.failure_code if isinstance(failure, JobFailure) else failure.code
    error: dict[str, Any] = {"code": code, "message": failure.detail}
    if failure.fields:
        error["field"] = failure.fields[0].field
    if runtime.ledger.jobs.fail(job_id, error):
        log.warning("job failed", job=job_id, code=code, reason=failure.detail)
        runtime.broker.finalize(job_id)
