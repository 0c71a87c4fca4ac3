"""The Celery tasks. Each may run twice, late or never; what is true stands in the ledger and the store."""

from __future__ import annotations

import structlog
from celery import Task, shared_task

from jobs.devices import DeviceUnusable
from jobs.errors import Unavailable
from storage.broker import FINALIZE_TASK, GATHER_TASK, PLAN_TASK, WORK_TASK, work_queues
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


@shared_task(name=WORK_TASK, bind=True)
def work(task: Task[[str], None], slot: str) -> None:
    """Take an invitation to work."""
    process = current()
    try:
        worker = process.model_worker
        process.presence.broken(None)
        worker.serve(slot)
    except Unavailable as error:
        log.warning("work waits", reason=error.detail)
    except DeviceUnusable as unusable:
        # Claims nothing, and leaves invitations to those who can follow them; they are sent again.
        log.error("cannot work", reason=str(unusable))  # noqa: TRY400  (the reason says it all)
        process.presence.broken(str(unusable))
        device, host = process.runtime.device, task.request.hostname
        for queue in work_queues(device.type) if device and host else ():
            task.app.control.cancel_consumer(queue, destination=[str(host)])
