"""Celery on Redis: its configuration, and the three messages that are ever sent.

No message is trusted: each may come twice, late or never. What is to be done stands in the ledger and the store; the
sweeper sends again what is missing there.
"""

from __future__ import annotations

import structlog
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from jobs.settings import Settings

log = structlog.get_logger(__name__)

CONTROL_QUEUE = "control"  #: planning and finalizing; no model, no device
WORK_QUEUE = "work"  #: invitations to workers that hold models

PLAN_TASK = "textmill.plan"
FINALIZE_TASK = "textmill.finalize"
WORK_TASK = "textmill.work"

#: Seconds after which Redis hands an unacknowledged message out again. The shortest of all apps on a
#: broker wins, so this is the only place that sets it. Longer than any slice or planning step should take.
VISIBILITY_SECONDS = 3600


def make_celery(settings: Settings) -> Celery:
    """The Celery application, configured for tasks that may run long, twice or not at all."""
    app = Celery("textmill", broker=settings.celery_broker_url, set_as_current=True)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        enable_utc=True,
        result_backend=None,
        task_acks_late=True,
        task_create_missing_queues=False,
        task_default_queue=WORK_QUEUE,
        task_ignore_result=True,
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1, "interval_max": 0.2},
        task_queues=[Queue(CONTROL_QUEUE), Queue(WORK_QUEUE)],
        task_routes={
            PLAN_TASK: {"queue": CONTROL_QUEUE},
            FINALIZE_TASK: {"queue": CONTROL_QUEUE},
            WORK_TASK: {"queue": WORK_QUEUE},
        },
        task_serializer="json",
        task_store_errors_even_if_ignored=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_pool_start_method="spawn",
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=120.0,  # a child that imports torch may need far more than 4 s
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_soft_shutdown_timeout=3.0,
        worker_enable_soft_shutdown_on_idle=False,
    )
    return app


class Broker:
    """Sends messages. A send that fails is only logged: the sweeper will send again."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def plan(self, job_id: str) -> None:
        """Ask a control worker to plan a job."""
        self._send(PLAN_TASK, job_id)

    def finalize(self, job_id: str) -> None:
        """Ask a control worker to finalize a job."""
        self._send(FINALIZE_TASK, job_id)

    def invite(self, slot: str) -> None:
        """Invite any model worker to see what there is to do."""
        self._send(WORK_TASK, slot)

    def _send(self, task: str, argument: str) -> None:
        try:
            self._app.send_task(task, args=[argument])
        except (OperationalError, OSError) as error:
            log.warning("message not sent", task=task, argument=argument, error=str(error))
