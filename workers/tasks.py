"""The Celery tasks. Each may run twice, late or never; what is true stands in the ledger and the store."""

from __future__ import annotations

import structlog
from celery import shared_task

from jobs.errors import Unavailable
from storage.broker import FINALIZE_TASK, GATHER_TASK, PLAN_TASK, WORK_TASK
from workers.finalizer import finalize_job, gather_job
from workers.planner import plan_job
from workers.process import current

log = structlog.get_logger(__name__)


@shared_task(name=PLAN_TASK, reject_on_worker_lost=True)
def plan(job_id: str) -> None:
    """Plan a job."""
    try:
        plan_job(current().runtime, job_id)
    except Unavailable as error:
        log.warning("planning waits", job=job_id, reason=error.detail)


@shared_task(name=GATHER_TASK)
def gather(job_id: str) -> None:
    """Join what is done of a job that still runs."""
    try:
        gather_job(current().runtime, job_id)
    except Unavailable as error:
        log.warning("gathering waits", job=job_id, reason=error.detail)


@shared_task(name=FINALIZE_TASK, reject_on_worker_lost=True)
def finalize(job_id: str) -> None:
    """Finalize a job."""
    try:
        finalize_job(current().runtime, job_id)
    except Unavailable as error:
        log.warning("finalizing waits", job=job_id, reason=error.detail)


@shared_task(name=WORK_TASK)
def work(slot: str) -> None:
    """Take an invitation to work."""
    try:
        current().model_worker.serve(slot)
    except Unavailable as error:
        log.warning("work waits", reason=error.detail)
